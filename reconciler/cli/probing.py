"""`reconcile probe`: whether packets go where the specs say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from reconciler.cli.invoked import begin, enter_host
from reconciler.cli.options import global_options
from reconciler.cli.terminal import printable, show
from reconciler.errors import ExitCode
from reconciler.model.words import counted

if TYPE_CHECKING:
    from reconciler.model.expectation import Expectation
    from reconciler.reach.probing import Probe
    from reconciler.reach.walk import Walk


@click.command()
@global_options()
@click.option("--expect", "is_for_expectations", is_flag=True, help="Ask what `expect:` says, instead of everybody.")
@click.pass_context
def probe(context: click.Context, *, is_for_expectations: bool) -> ExitCode:
    """Send pings and TCP between the sandboxes of this host, and say whether they arrive where the specs say.

    Exit code 1 when one does not. Nothing is said of what is outside, on other hosts, or over UDP.
    """
    from reconciler.backends import open_backends
    from reconciler.probe import answered, host_walk
    from reconciler.reach.probing import probes

    settings = begin(context).settings
    enter_host(settings)
    with open_backends(settings, read_only=True) as backends:
        loaded, walk = host_walk(settings, backends)
        if is_for_expectations:
            asked = [(one, _meant(one, walk, settings.host)) for one in loaded.expectations]
            packets = dict.fromkeys(each for _, meant in asked for each in meant)
            lines, failed = _by_expectation(asked, answered(packets, walk, backends))
        else:
            lines, failed = _by_packet(answered(probes(walk, settings.host), walk, backends))
    show("".join(f"{printable(line)}\n" for line in lines))
    return ExitCode.FAILED if failed else ExitCode.OK


def _by_packet(found: Mapping[Probe, bool]) -> tuple[list[str], int]:
    differing = [each for each, is_answered in found.items() if is_answered != each.is_expected]
    lines = [each.difference() for each in differing]
    sandboxes = {each.packet.client for each in found}
    agreed = f"{len(found) - len(differing)} of {counted(len(found), 'packet')}"
    return [*lines, f"Probe: {agreed} from {len(sandboxes)} places went as the specs say"], len(differing)


def _meant(expectation: Expectation, walk: Walk, host: str) -> list[Probe]:
    from reconciler.reach.probing import probes
    from reconciler.review.parties import parties_of

    if expectation.protocol not in ("", "tcp"):
        return []
    clients, servers = (frozenset(parties_of(each, walk)) for each in (expectation.client, expectation.server))
    asked = probes(walk, host, expectation.port)
    return [each for each in asked if each.packet.client in clients and each.server in servers]


def _by_expectation(
    asked: Sequence[tuple[Expectation, Sequence[Probe]]], found: Mapping[Probe, bool]
) -> tuple[list[str], int]:
    lines, failed, count = [], 0, 0
    for one, planned in asked:
        meant = [each for each in planned if each in found]  # where a sandbox is not there, nobody can be asked
        wrong = list(_wrong(meant, found, is_reached=one.is_reached))
        failed, count = failed + bool(wrong), count + bool(meant)
        said = f"{one.client} {'reaches' if one.is_reached else 'does not reach'} {one.server}"
        at = f" at {one.port}" if one.port else ""
        verdict = f"NOT as expected: {wrong[0]}" if wrong else "as expected"
        lines.append(f"{one.source}: {said}{at}: {verdict if meant else 'nobody here can be asked'}")
    return [*lines, f"Probe: {count - failed} of {counted(count, 'expectation')} as expected"], failed


def _wrong(meant: Iterable[Probe], found: Mapping[Probe, bool], *, is_reached: bool) -> Iterator[str]:
    """Yield lines on pairs: to be reached at one address is enough, not to be is for all of them."""
    pairs: dict[tuple[object, object], bool] = {}
    for each in meant:
        pair = each.packet.client, each.server
        pairs[pair] = pairs.get(pair, False) or found[each]
    for (client, server), is_answered in pairs.items():
        if is_answered != is_reached:
            yield f"{client} {'reaches' if is_answered else 'does not reach'} {server}"
