"""A plan without a look at the kernel, for reviews: from what was applied last, or from nothing, to what the specs declare."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from reconciler.compile import compile_objects
from reconciler.drivers.remote_told import with_plugins
from reconciler.errors import ExitCode, SpecError
from reconciler.guard.guarded import applied, guarded
from reconciler.guard.last_good import LastGood, read_last_good
from reconciler.guard.obey import obeyed
from reconciler.guard.orders import Orders
from reconciler.ipam.assign import assign
from reconciler.ipam.gateway_network import with_gateway_network
from reconciler.ipam.held import with_held
from reconciler.ipam.leases import as_declared, with_leases
from reconciler.ipam.promises import Promises, decode_promises
from reconciler.kv.protocol import KvStore
from reconciler.model.desired import DesiredState, HostFacts
from reconciler.model.objects import Key, KvRecord, Object, Seen, Unit
from reconciler.model.observed import HostPorts
from reconciler.model.plan import Plan
from reconciler.model.plugins import PluginFacts, is_plugin
from reconciler.model.report import Report
from reconciler.model.wanted import NetworkWanted, OverlayOptions, Source, SpecWarning, WantedState
from reconciler.observe.host_facts import host_facts
from reconciler.observe.memory import View
from reconciler.plan.make_plan import Boundaries, make_plan
from reconciler.plan.ownership import declared_units, link_units, owners
from reconciler.plugin.records import decode_plugin_records
from reconciler.ports.assign import assign_ports
from reconciler.ports.links import assign_links
from reconciler.ports.promises import Promised, decode_ports
from reconciler.settings import Settings
from reconciler.spec.load import LoadedSpecs


def rehearsed(loaded: LoadedSpecs, settings: Settings, kv: KvStore, against: str, orders: Orders) -> Report:
    """Give the plan from the last good specs (against "status"), or from nothing at all ("empty"). Needs no rights.

    What only the host could tell is left out on both sides: the MTU of its way out and of parents, links for VLANs, routes that
    pools must not meet, sockets that hold a port, sandboxes that are missing.
    """
    host = host_facts(settings, View(links=(), addresses=(), routes=()), _now())
    if against == "empty":
        return _report(loaded, _assigned(loaded.wanted, host, Promises(), {}), {}, Promises())
    records = {entry.key: entry.value.decode(errors="replace") for entry in kv.list("")}
    promises, _ = decode_promises(records)
    ports, _ = decode_ports(records)
    plugins, _ = decode_plugin_records(records)
    last = read_last_good(settings.state_dir) or LastGood(versions={}, current="")
    applied_last = applied(last, settings) if last.versions else _NOTHING
    before = compile_objects(_assigned(applied_last, host, promises, ports, plugins), {})
    loaded = guarded(loaded, settings, kv, orders)
    return _report(loaded, _assigned(loaded.wanted, host, promises, ports, plugins), before, promises)


def foreseen(loaded: LoadedSpecs, settings: Settings) -> tuple[tuple[SpecError, ...], tuple[SpecWarning, ...]]:
    """Give what no host can have of specs whose entries are fine each by itself, and what of them comes to nothing.

    Choosing on a host where there is nothing shows it. Of those who join what is declared elsewhere nothing can be said.
    """
    if loaded.faults:
        return (), ()
    desired = on_empty_host(loaded.wanted, settings)
    failed = [(unit, error) for unit, error in desired.failures if error.exit_code is not ExitCode.OK]
    lost = {network.name for network in loaded.wanted.networks if network.is_external}
    lost |= {unit.network for unit, _ in failed if not unit.attachment}
    untold = {a.name for a in loaded.wanted.attachments if any(e.network in lost for e in a.endpoints)}
    place = _places(loaded.wanted, untold)
    faults = {(place[found], str(error)) for unit, error in failed if (found := _declared(unit)) in place}
    told = [(unit, f"{unit}: {text}") for unit, text in (*desired.remarks, *_without_cluster(loaded.wanted, settings))]
    warnings = {SpecWarning(place[found], text) for unit, text in told if (found := _declared(unit)) in place}
    return tuple(SpecError(at.file, at.line, at.column, text) for at, text in sorted(faults)), tuple(sorted(warnings))


def on_empty_host(wanted: WantedState, settings: Settings) -> DesiredState:
    """Make all choices as on a host where there is nothing."""
    return _assigned(wanted, host_facts(settings, View(links=(), addresses=(), routes=()), _now()), Promises(), {})


def between(before: LoadedSpecs, after: LoadedSpecs, settings: Settings) -> tuple[DesiredState, Report]:
    """Give what a host has that applied `before` as its first specs, and the plan from there to `after`. Asks no host."""
    host = _any_host(settings)
    had = _assigned(before.wanted, host, Promises(), {})
    if before.wanted == after.wanted:
        return had, Report(
            desired=had,
            plan=Plan(),
            spec_faults=after.faults,
            spec_warnings=after.warnings,
            digest=after.digest,
        )
    objects = compile_objects(had, {})
    records = {found.path: found.value for found in objects.values() if isinstance(found, KvRecord)}
    promises, _ = decode_promises(records)
    ports, _ = decode_ports(records)
    return had, _report(after, _assigned(after.wanted, host, promises, ports), objects, promises)


def _any_host(settings: Settings) -> HostFacts:
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


def _places(wanted: WantedState, untold: Container[str]) -> Mapping[Unit, Source]:
    """Say where networks and attachments are declared; built-in ones are nowhere. untold: attachments to leave out."""
    found = {Unit(network=network.name): network.source for network in wanted.networks if network.source.line}
    told = (attachment for attachment in wanted.attachments if attachment.name not in untold)
    return {**found, **{Unit(attachment=attachment.name): attachment.source for attachment in told}}


def _declared(unit: Unit) -> Unit:
    return Unit(attachment=unit.attachment) if unit.attachment else unit


def _without_cluster(wanted: WantedState, settings: Settings) -> Iterator[tuple[Unit, str]]:
    for network in wanted.networks if not settings.cluster_store else ():
        if network.driver == "overlay":
            yield (
                Unit(network=network.name),
                "only hosts with --cluster-store have overlay networks, and here is none given",
            )


_NO_PLUGINS = PluginFacts()
_NOTHING = WantedState(networks=(), attachments=())


def _assigned(
    wanted: WantedState, host: HostFacts, promises: Promises, ports: Promised, plugins: PluginFacts = _NO_PLUGINS
) -> DesiredState:
    networks = tuple(_assumed(network, promises) for network in wanted.networks)
    wanted = with_gateway_network(replace(wanted, networks=networks), plugins.answers)
    leased = with_leases(wanted, plugins, {}, host.name).wanted
    desired = with_held(as_declared(assign(leased, host, promises), wanted), wanted, promises, {}, ports)
    desired = with_held(assign_ports(assign_links(desired), ports, {}, HostPorts()), wanted, promises, {}, ports)
    return with_plugins(desired, PluginFacts(), {})


def _assumed(network: NetworkWanted, promises: Promises) -> NetworkWanted:
    """What is declared elsewhere, the cluster's store would tell; it is taken for an overlay network with all defaults.

    Whether hosts share a plugin's network is as it was.
    """
    if network.is_external:
        return replace(network, driver="overlay", overlay=OverlayOptions(), is_shared=True)
    promise = promises.networks.get(network.name)
    was_shared = is_plugin(network.driver) and promise is not None and promise.is_shared
    return replace(network, is_shared=True) if network.driver == "overlay" or was_shared else network


def _report(loaded: LoadedSpecs, desired: DesiredState, before: Mapping[Key, Object], promises: Promises) -> Report:
    seen = {key: Seen(found, is_ours=True) for key, found in before.items()}
    boundaries = Boundaries(
        failures=desired.failures, is_pruning=not loaded.wanted.has_faults, declared=declared_units(loaded.wanted)
    )
    links = link_units(loaded.wanted, desired.host.name, _promised_units(promises))
    sandboxes = {attachment.sandbox.ns: Unit(attachment=attachment.name) for attachment in loaded.wanted.attachments}
    objects = compile_objects(desired, {})
    whose = owners(links, sandboxes, seen, objects.values())
    plan = obeyed(make_plan(objects, seen, whose, boundaries), _without_drift(loaded.wanted), whose, {})
    return Report(
        desired=desired,
        plan=plan,
        drift=plan,
        spec_faults=loaded.faults,
        spec_warnings=loaded.warnings,
        digest=loaded.digest,
    )


def _without_drift(wanted: WantedState) -> WantedState:
    """Two sets of specs are compared: nothing that differs is drift."""
    return replace(wanted, holds=replace(wanted.holds, on_drift={}))


def _promised_units(promises: Promises) -> Mapping[str, Unit]:
    units = {network.link_name: Unit(network=name) for name, network in promises.networks.items()}
    units |= {
        endpoint.link_name: Unit(network=network, attachment=attachment)
        for (network, attachment), endpoint in promises.endpoints.items()
    }
    return {name: unit for name, unit in units.items() if name}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
