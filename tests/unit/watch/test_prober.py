"""What rounds of packets make known, and when they count for nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count

import pytest
from msgspec.structs import replace

from reconciler.errors import KernelError, NameConflict, SandboxMissing
from reconciler.model.objects import HOST_UNIT, Unit
from reconciler.model.report import Probed, Report
from reconciler.reach.probing import Probe
from reconciler.reach.walk import Walk
from reconciler.watch import prober as module
from reconciler.watch.prober import Prober
from reconciler.watch.source import Dirty
from tests.fakes.reach import walk_of
from tests.fakes.reports import WEB, made, report

SPECS = """
networks: {front: {}}
attachments: {web: {networks: [front]}, db: {networks: [front]}}
"""
PASS, LOOK_AT_ALL = Dirty(is_other=True), Dirty(is_specs=True, is_everything=True)
AGREE, DISAGREE, NOT_ASKED = "PacketsAgree", "PacketsDisagree", "NotAsked"


class Host:
    """A host whose packets do what a test says. broken: names of servers that no longer answer."""

    def __init__(self) -> None:
        self.broken: set[str] = set()
        self.asked: list[Probe] = []
        self.meanwhile: Callable[[], object] = lambda: None
        self.report = replace(report(), desired=walk_of(SPECS).sites["alpha"].desired)
        self.prober = Prober("alpha", 60.0, self._ask)

    def _ask(self, asked: Sequence[Probe], walk: Walk, is_over: Callable[[], bool]) -> Mapping[Probe, bool]:
        self.asked = list(asked)
        self.meanwhile()
        return {each: each.is_expected and each.server.name not in self.broken for each in asked}

    def pass_(self, dirty: Dirty = PASS, found: Report | None = None) -> Probed:
        self.prober.begins(dirty)
        return self.prober.judged(found or self.report)

    def round(self) -> Probed:
        """Send packets, and make the pass that they ask for."""
        self.prober.look()
        return self.pass_(self.prober.drain())


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.prober.close()


def test_a_difference_is_told_until_it_heals(host: Host) -> None:
    assert (host.pass_().reason, host.round().reason) == (NOT_ASKED, AGREE)

    host.broken = {"db"}
    found = host.round()

    assert (found.reason, found.asked, found.differing) == (DISAGREE, 6, 2)
    assert "web → db at 172." in found.message
    assert host.pass_() == found
    host.broken = set()
    assert host.round().reason == AGREE


def test_a_difference_counts_only_after_a_look_at_everything(host: Host) -> None:
    host.pass_()
    host.broken = {"db"}

    host.prober.look()

    assert host.pass_().reason == NOT_ASKED
    assert host.prober.drain() == LOOK_AT_ALL
    assert host.pass_(LOOK_AT_ALL).reason == DISAGREE
    host.prober.look()
    assert host.prober.drain() == PASS  # the same again


@pytest.mark.parametrize("when", ["while they are under way", "in the second look"])
@pytest.mark.parametrize("what", ["repaired", "another sandbox", "other specs", "gone", "left differing"])
def test_a_round_on_a_host_that_changes_counts_for_nothing(host: Host, when: str, what: str) -> None:
    host.pass_()
    assert host.round().reason == AGREE
    host.broken = {"db"}
    same = host.report
    other = {
        "repaired": replace(same, outcomes=(made(),)),
        "another sandbox": replace(same, sandboxes={"netns:db": 7}),
        "other specs": replace(same, desired=replace(same.desired, attachments=same.desired.attachments[:1])),
        "gone": same.with_problem(Unit(attachment="db"), SandboxMissing("gone")),
        "left differing": replace(same, drift=replace(same.drift, operations=(made().operation,))),
    }[what]
    if when == "in the second look":
        host.prober.look()
        assert host.pass_(LOOK_AT_ALL, other).reason == AGREE
    else:
        host.meanwhile = lambda: host.pass_(PASS, other)
        assert host.round().reason == AGREE


def test_a_pass_that_broke_off_may_have_changed_anything(host: Host) -> None:
    host.pass_()
    host.broken = {"db"}
    host.meanwhile = lambda: host.prober.begins(PASS)

    assert host.round().reason == NOT_ASKED


def test_nobody_asks_for_what_is_not_as_declared(host: Host) -> None:
    host.pass_(PASS, host.report.with_problem(Unit(attachment="db"), SandboxMissing("gone")))
    host.broken = {"db"}

    host.prober.look()
    assert {each.server.name for each in host.asked} == {"", "web"}

    host.report = host.report.with_problem(Unit(network="front"), NameConflict("taken"))
    host.pass_()
    assert host.round() == Probed(reason="NotAsked", message="there is nobody to ask")

    host.report = host.report.with_problem(HOST_UNIT, KernelError(1, "look"))
    assert host.round() == Probed(reason="NotAsked", message="the host as a whole is not as declared")


def test_many_are_asked_in_turn_and_what_differed_again(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROUND_MAX", 2)
    host.pass_()
    assert [host.round().reason for _ in range(7)] == [AGREE] * 7, "also where the last round took the last of them"
    host.broken = {"web"}
    rounds = [(host.round(), host.asked) for _ in range(4)]

    assert len({each for _, asked in rounds for each in asked}) == 6
    first = next(number for number in count() if rounds[number][0].reason == DISAGREE)
    assert all(found.reason == DISAGREE for found, _ in rounds[first:])
    assert WEB.attachment in rounds[-1][0].message


def test_packets_that_cannot_be_sent_say_nothing(host: Host) -> None:
    def fail() -> None:
        raise OSError("too many open files")

    host.pass_()
    assert host.round().reason == AGREE
    host.broken, host.meanwhile = {"db"}, fail

    host.prober.look()

    assert host.prober.drain() == Dirty()
    assert host.pass_(LOOK_AT_ALL).reason == AGREE
