"""Choices without a look at the kernel, made as on a host where there is nothing: they show what no host can have."""

from __future__ import annotations

from collections.abc import Container, Iterator
from datetime import UTC, datetime
from typing import Final

from msgspec.structs import replace

from reconciler.choices import Choices
from reconciler.errors import ExitCode, SpecError
from reconciler.facts import Facts, Records
from reconciler.ipam.gateway_network import with_gateway_network
from reconciler.ipam.promises import Promises
from reconciler.kinds.view import NamespaceView
from reconciler.model.cluster import ALONE
from reconciler.model.desired import DesiredState, HostFacts
from reconciler.model.objects import Unit
from reconciler.model.wanted import NetworkWanted, OverlayOptions, Source, SpecWarning, WantedState
from reconciler.observe.host_facts import host_facts
from reconciler.settings import Settings
from reconciler.spec.load import LoadedSpecs


def foreseen(loaded: LoadedSpecs, settings: Settings) -> tuple[tuple[SpecError, ...], tuple[SpecWarning, ...]]:
    """Return what no host can have of specs whose entries are fine each by itself, and what of them comes to nothing.

    Choosing on a host where there is nothing shows it. Of those who join what is declared elsewhere nothing can be said.
    """
    if loaded.faults:
        return (), ()
    desired = on_empty_host(loaded.wanted, settings)
    failed = [(unit, error) for unit, error in desired.failures if error.exit_code is not ExitCode.OK]
    lost = {network.name for network in loaded.wanted.networks if network.is_external}
    lost |= {unit.network for unit, _ in failed if not unit.attachment}
    untold = {a.name for a in loaded.wanted.attachments if any(e.network in lost for e in a.endpoints)}
    faults = {(at, str(error)) for unit, error in failed for at in _places(loaded.wanted, unit, untold)}
    told = [(unit, f"{unit}: {text}") for unit, text in (*desired.remarks, *_without_cluster(loaded.wanted, settings))]
    warnings = {SpecWarning(at, text) for unit, text in told for at in _places(loaded.wanted, unit, untold)}
    return tuple(SpecError(at.file, at.line, at.column, text) for at, text in sorted(faults)), tuple(sorted(warnings))


def on_empty_host(wanted: WantedState, settings: Settings) -> DesiredState:
    """Make all choices as on a host where there is nothing."""
    return assigned(wanted, empty_host(settings))


def empty_host(settings: Settings) -> HostFacts:
    """Return the facts of this host, of whose links, addresses and routes nothing is known."""
    return host_facts(settings, NamespaceView(links=(), addresses=(), routes=()), _now())


def on_any_host(wanted: WantedState, settings: Settings) -> DesiredState:
    """Make all choices as on a host where there is nothing, and of which nothing is known."""
    return assigned(wanted, any_host(settings))


def any_host(settings: Settings) -> HostFacts:
    """What only the host could tell is left out, and so are the files of the machine that asks."""
    return HostFacts(
        name=settings.host,
        instance=settings.instance,
        hostname=settings.host,
        uplink_mtu=None,
        routes=(),
        resolv_conf="",
        resolved_conf="",
        hosts="",
        has_ipv6=True,
        now="1970-01-01T00:00:00.000000000Z",
    )


def _places(wanted: WantedState, unit: Unit, untold: Container[str]) -> Iterator[Source]:
    """Yield where a network or attachment is declared; built-in ones are nowhere. untold: attachments to leave out."""
    at = wanted.sources.get(unit.entry())
    if at is not None and at.line and unit.attachment not in untold:
        yield at


def _without_cluster(wanted: WantedState, settings: Settings) -> Iterator[tuple[Unit, str]]:
    for network in wanted.networks if not settings.cluster_store else ():
        if network.traits.is_vxlan:
            yield (
                Unit(network=network.name),
                "only hosts with --cluster-store have overlay networks, and here is none given",
            )


_NO_RECORDS: Final = Records()


def assigned(wanted: WantedState, host: HostFacts, records: Records = _NO_RECORDS) -> DesiredState:
    """Make all choices on `host`, what was promised before kept."""
    networks = tuple(_assumed(network, records.promises) for network in wanted.networks)
    wanted = with_gateway_network(replace(wanted, networks=networks), records.plugins.answers)
    facts = Facts(host=host, records=records)
    return Choices()(wanted, facts, records.promises, ALONE, {}, wanted.sources)[0]


def _assumed(network: NetworkWanted, promises: Promises) -> NetworkWanted:
    """What is declared elsewhere, the cluster's store would tell; it is taken for an overlay network with all defaults.

    Whether hosts share a plugin's network is as it was.
    """
    if network.is_external:
        return replace(network, driver="overlay", overlay=OverlayOptions(), is_shared=True)
    promise = promises.networks.get(network.name)
    was_shared = network.traits.is_plugin and promise is not None and promise.is_shared
    return replace(network, is_shared=True) if network.traits.is_vxlan or was_shared else network


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
