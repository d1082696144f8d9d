"""The way out of overlay networks: whole passes of one host, whose cluster's store is a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from ipaddress import ip_network

import pytest
from msgspec.structs import replace

from reconciler.backends import Backends, open_backends
from reconciler.kv.address import Discovery
from reconciler.kv.sqlite import open_sqlite
from reconciler.model.identifiers import GATEWAY_NETWORK
from reconciler.model.report import Report
from reconciler.model.wanted import (
    AttachmentWanted,
    BridgeOptions,
    EndpointWanted,
    NetworkWanted,
    OverlayOptions,
    PortWanted,
    SandboxKind,
    SandboxRef,
    SubnetWanted,
    WantedState,
)
from reconciler.observe.cluster import ClusterStore
from reconciler.pipeline import run_pass, tear_down
from reconciler.settings import Settings
from reconciler.spec.load import LoadedSpecs
from tests.kernel.firewall_host import BLOCKED_S
from tests.kernel.frames import PROTOCOLS, arrivals, frame, link_mac, packet, send
from tests.machine import Machine

pytestmark = pytest.mark.kernel

ZONE = NetworkWanted(name="zone", driver="overlay", subnets=(SubnetWanted(subnet=ip_network("10.9.0.0/24")),))
HIDDEN = replace(ZONE, is_internal=True)
LAN = NetworkWanted(name="lan", bridge=BridgeOptions())


def attachment(name: str, *networks: str, ports: tuple[PortWanted, ...] = ()) -> AttachmentWanted:
    return AttachmentWanted(
        name=name,
        sandbox=SandboxRef(SandboxKind.NETNS, name),
        endpoints=tuple(
            EndpointWanted(
                network=network,
            )
            for network in networks
        ),
        ports=ports,
    )


@dataclass(frozen=True, slots=True)
class Pass:
    """Runs passes on the host "H"."""

    machine: Machine
    settings: Settings
    backends: Backends

    def __call__(self, networks: tuple[NetworkWanted, ...], *attachments: AttachmentWanted) -> Report:
        """Bring the host to this, and insist that nothing failed and nothing is left to do."""
        loaded = LoadedSpecs(
            wanted=WantedState(networks=networks, attachments=attachments), faults=(), digest="", files=()
        )
        self.backends.memory.forget_all()
        with self.machine.inside("H"):
            report = run_pass(loaded, self.settings, self.backends, tell=lambda report: report)
        assert [str(outcome.error) for outcome in report.outcomes if outcome.error] == []
        assert (report.drift.operations, report.drift.problems) == ((), ())
        return report


@pytest.fixture
def converge(machine: Machine, host_ns: str, uplink: str) -> Iterator[Pass]:
    settings = Settings(
        host="alpha",
        state_dir=machine.state_dir,
        status_dir=machine.status_dir,
        run_dir=machine.run_dir,
        netns_dir=machine.netns_dir,
        netns_etc_dir=machine.etc_netns_dir,
    )
    with (
        machine.inside(host_ns),
        open_backends(settings) as backends,
        closing(open_sqlite(machine.state_dir / "cluster.db")) as store,
    ):
        cluster = ClusterStore(store, host=settings.host, instance=settings.instance, discovery=Discovery())
        yield Pass(machine, replace(settings, cluster_advertise="uplink0"), replace(backends, cluster=cluster))


def test_the_world_is_reached_by_the_gateway_network(converge: Pass, machine: Machine) -> None:
    converge((ZONE,), attachment("web", "zone"))

    assert machine.ping("web", "192.0.2.2")
    assert "docker_gwbridge" in machine.links("H")
    assert machine.links("web") == ["eth0", "eth1", "lo"]
    assert machine.ip_json("web", "route", "show", "default")[0]["dev"] == "eth1"


def test_a_second_pass_does_nothing(converge: Pass) -> None:
    converge((ZONE,), attachment("web", "zone"))

    assert converge((ZONE,), attachment("web", "zone")).outcomes == ()


def test_neighbours_meet_on_the_overlay_only(converge: Pass, machine: Machine) -> None:
    converge((ZONE,), attachment("db", "zone"), attachment("web", "zone"))
    gateway_side = machine.ip_json("db", "-4", "address", "show", "dev", "eth1")[0]["addr_info"][0]["local"]
    overlay_side = machine.ip_json("db", "-4", "address", "show", "dev", "eth0")[0]["addr_info"][0]["local"]

    assert machine.ping("web", overlay_side)
    assert not machine.ping("web", gateway_side, deadline_s=1)


def test_nobody_on_an_overlay_sends_as_somebody_else(converge: Pass, machine: Machine) -> None:
    attachments = [attachment(name, "zone") for name in ("db", "log", "web")]
    both = replace(
        HIDDEN, is_ipv6_enabled=True, subnets=(*HIDDEN.subnets, SubnetWanted(subnet=ip_network("fd09::/64")))
    )
    converge((both,), *attachments)
    (overlay,) = (name for name in machine.namespaces() if name.startswith("ov-"))
    macs = {name: link_mac(machine, name, "eth0") for name in ("db", "log", "web")}
    ips, ips6 = ({name: _address(machine, name, family) for name in macs} for family in ("-4", "-6"))
    honest, forged = (
        [
            frame(macs["web"], macs["log"], packet(protocol, found[name], found["log"], (1, 2), name.encode()))
            for protocol in PROTOCOLS
            for found in (ips, ips6)
        ]
        for name in ("web", "db")
    )

    def arrived() -> tuple[int, int]:
        """How many of the honest and of the forged."""
        with arrivals(machine, "log", "eth0") as wait:
            send(machine, "web", "eth0", *forged, *honest)
            got = wait(BLOCKED_S)
        return sum(each in got for each in honest), sum(each in got for each in forged)

    assert arrived() == (6, 0)
    machine.run(overlay, "nft", "flush", "ruleset")
    assert arrived() == (6, 6), "nothing but the table in there stopped it"

    assert converge((both,), *attachments).outcomes
    assert arrived() == (6, 0)
    free = replace(both, overlay=OverlayOptions(is_source_validated=False))
    converge((free,), *attachments)
    assert arrived() == (6, 6)


def _address(machine: Machine, ns: str, family: str) -> str:
    return str(
        machine.ip_json(ns, family, "address", "show", "dev", "eth0", "scope", "global")[0]["addr_info"][0]["local"]
    )


def test_an_internal_overlay_has_no_way_out(converge: Pass, machine: Machine) -> None:
    converge((HIDDEN,), attachment("web", "zone"))

    assert machine.links("web") == ["eth0", "lo"]
    assert machine.ip_json("web", "route", "show", "default") == []
    assert "docker_gwbridge" not in machine.links("H")


def test_another_network_that_leads_out_takes_the_gateway_networks_place(converge: Pass, machine: Machine) -> None:
    converge((ZONE,), attachment("web", "zone"))

    converge((LAN, ZONE), attachment("web", "lan", "zone"))

    assert machine.ping("web", "192.0.2.2")
    assert "docker_gwbridge" not in machine.links("H")


def test_ports_are_published_at_the_gateway_network(converge: Pass, machine: Machine) -> None:
    report = converge((ZONE,), attachment("web", "zone", ports=(PortWanted(target=(80, 80), published=(8080, 8080)),)))

    with machine.tcp_server("web", "0.0.0.0", 80):
        assert machine.tcp("outside", "192.0.2.1", 8080) is not None
    (web,) = report.desired.attachments
    assert [endpoint.network for endpoint in web.endpoints if endpoint.ports] == [GATEWAY_NETWORK]


def test_addresses_on_the_overlay_are_adopted_when_the_store_is_lost(converge: Pass, machine: Machine) -> None:
    converge((ZONE,), attachment("db", "zone"), attachment("web", "zone"))
    before = {name: machine.ip_json(name, "-4", "address", "show") for name in ("db", "web")}
    for entry in converge.backends.kv.list(""):
        converge.backends.kv.delete(entry.key)

    converge((ZONE,), attachment("web", "zone"))

    assert machine.ip_json("web", "-4", "address", "show") == before["web"]


def test_everything_goes_with_the_specs(converge: Pass, machine: Machine) -> None:
    converge((ZONE,), attachment("web", "zone"))

    with machine.inside("H"):
        report = tear_down(converge.settings, converge.backends)

    assert [str(outcome.error) for outcome in report.outcomes if outcome.error] == []
    assert machine.namespaces() == ["H", "outside"]
    assert machine.links("H") == ["lo", "uplink0"]
