"""Several hosts joined by a switch, each with its part of overlay networks, for tests: desired states made by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface, ip_network

from msgspec import Struct
from msgspec.structs import replace

from reconciler.announcements import announcements
from reconciler.apply.announce import announce_addresses
from reconciler.apply.executor import carry_out
from reconciler.drivers import overlay
from reconciler.kernel.netns import Namespaces
from reconciler.kinds.registry import handlers
from reconciler.kv.sqlite import open_sqlite
from reconciler.model.desired import (
    DesiredEndpoint,
    DesiredNetwork,
    DesiredSubnet,
    HostFacts,
    RemoteEndpoint,
)
from reconciler.model.identifiers import derived_id, endpoint_id, overlay_ns, veth_link_name
from reconciler.model.objects import (
    IPAddress,
    Key,
    Namespace,
    Object,
    SandboxFile,
    Seen,
    Unit,
)
from reconciler.model.plan import Outcome, Plan
from reconciler.model.wanted import (
    AttachmentWanted,
    EndpointWanted,
    NetworkWanted,
    SandboxKind,
    SandboxRef,
    WantedState,
)
from reconciler.observe.host import observe_host
from reconciler.observe.memory import Memory
from reconciler.plan.make_plan import Boundaries, make_plan
from reconciler.plan.ownership import owners
from reconciler.settings import Settings
from tests.fakes.desired import host_facts
from tests.fakes.drivers import compiler_of
from tests.fakes.world import world
from tests.machine import Machine
from tests.underlay import hosts_on_switch

compile_network = compiler_of(overlay)

NOW = "2026-01-02T03:04:05.000000006Z"


class Net(Struct, frozen=True, kw_only=True):
    """An overlay network: (subnet, VNI) pairs; the gateways are the first addresses."""

    name: str
    subnets: tuple[tuple[str, int], ...]
    mtu: int = 1450

    @property
    def id(self) -> str:
        return derived_id("global network", self.name)


class Member(Struct, frozen=True, kw_only=True):
    """An endpoint somewhere: the sandbox is called as the attachment, its link eth0."""

    name: str
    net: Net
    host: str
    interfaces: tuple[str, ...]
    ifname: str = "eth0"

    @property
    def ipv4(self) -> IPv4Interface | None:
        return next((i for i in map(ip_interface, self.interfaces) if isinstance(i, IPv4Interface)), None)

    @property
    def ipv6(self) -> IPv6Interface | None:
        return next((i for i in map(ip_interface, self.interfaces) if isinstance(i, IPv6Interface)), None)

    @property
    def mac(self) -> str:
        digits = derived_id("mac", self.net.name, self.name)
        return "02:42:" + ":".join(digits[i : i + 2] for i in range(0, 8, 2))


def desired_network(
    net: Net, host: HostFacts, members: Sequence[Member], vteps: Mapping[str, IPAddress]
) -> DesiredNetwork:
    pools = [(ip_network(subnet), vni) for subnet, vni in net.subnets]
    return DesiredNetwork(
        wanted=NetworkWanted(
            name=net.name,
            driver="overlay",
            is_ipv6_enabled=any(pool.version == 6 for pool, _ in pools),
        ),
        id=net.id,
        created=NOW,
        subnets=tuple(DesiredSubnet(subnet=p, gateway=p[1], default_gateway=p[1], vni=vni) for p, vni in pools),
        mtu=net.mtu,
        scope="global",
        ns=overlay_ns(net.id, host.instance),
        remote_endpoints=tuple(
            RemoteEndpoint(
                network=net.name,
                id=endpoint_id(member.host, net.name, member.name),
                name=member.name,
                host=member.host,
                vtep=vteps[member.host],
                mac=member.mac,
                ipv4=member.ipv4,
                ipv6=member.ipv6,
            )
            for member in members
            if member.net == net and member.host != host.name
        ),
    )


def desired_endpoint(member: Member) -> DesiredEndpoint:
    id_ = endpoint_id(member.host, member.net.name, member.name)
    return DesiredEndpoint(
        wanted=EndpointWanted(
            network=member.net.name,
        ),
        attachment=member.name,
        id=id_,
        ns=SandboxRef(SandboxKind.NETNS, member.name).ns,
        ifname=member.ifname,
        link_name=veth_link_name(id_),
        ipv4=member.ipv4,
        ipv6=member.ipv6,
        mac=member.mac,
    )


@dataclass(slots=True, kw_only=True)
class Host:
    """One host of the cluster, and the adapters that work on it."""

    machine: Machine
    name: str
    settings: Settings
    facts: HostFacts
    namespaces: Namespaces

    def plan(self, members: Sequence[Member], vteps: Mapping[str, IPAddress], memory: Memory | None = None) -> Plan:
        """Say what is to be done for all of `members`, those of this host here. memory: of earlier looks."""
        own = [member for member in members if member.host == self.name]
        wanted = {found.key: found for found in self._objects(own, members, vteps)}
        seen = self.look(sorted({member.name for member in own}), memory)
        links = {desired_endpoint(member).link_name: desired_endpoint(member).unit for member in own}
        places = {SandboxRef(SandboxKind.NETNS, m.name).ns: Unit(attachment=m.name) for m in own}
        places |= {overlay_ns(net.id, self.facts.instance): Unit(network=net.name) for net in _nets(members)}
        return make_plan(wanted, seen, owners(links, places, seen), Boundaries())

    def look(self, sandboxes: Sequence[str], memory: Memory | None = None) -> Mapping[Key, Seen]:
        """Give what exists, but for files."""
        wanted = WantedState(
            networks=(),
            attachments=tuple(
                AttachmentWanted(name=name, sandbox=SandboxRef(SandboxKind.NETNS, name)) for name in sandboxes
            ),
        )
        with self.machine.inside(self.name):
            _, parts = observe_host(wanted, self.settings, self.namespaces, NOW, memory or Memory())
            self.namespaces.release()
        return {
            key: each
            for part in parts.values()
            for key, each in part.items()
            if not isinstance(each.object, SandboxFile)
        }

    def _objects(
        self, own: Sequence[Member], members: Sequence[Member], vteps: Mapping[str, IPAddress]
    ) -> Iterator[Object]:
        for name in sorted({member.name for member in own}):
            ns = SandboxRef(SandboxKind.NETNS, name).ns
            yield Namespace(unit=Unit(attachment=name), ns=ns, name=name)
        for net in _nets(members):
            endpoints = [desired_endpoint(member) for member in own if member.net == net]
            yield from compile_network(desired_network(net, self.facts, members, vteps), endpoints, self.facts)

    def carry_out(self, plan: Plan) -> tuple[Outcome, ...]:
        """Apply a plan."""
        with self.machine.inside(self.name), closing(open_sqlite(self.settings.state_dir / "state.db")) as kv:
            made = carry_out(plan.operations, handlers(world(namespaces=self.namespaces, kv=kv)))
            self.namespaces.release()
        return made

    def announce(self, before: Mapping[Key, Seen], after: Mapping[Key, Seen]) -> None:
        """Tell what a pass tells when it has changed something."""
        with self.machine.inside(self.name):
            announce_addresses(announcements(before, after), self.namespaces)
            self.namespaces.release()

    def ns_of(self, net: Net) -> str:
        """Name of the network's namespace on this host."""
        return overlay_ns(net.id, self.facts.instance).removeprefix("netns:")


def _nets(members: Sequence[Member]) -> list[Net]:
    return sorted({member.net for member in members}, key=lambda net: net.name)


@dataclass(slots=True, kw_only=True)
class Cluster:
    """Hosts by name, on one underlay, each with one address there."""

    machine: Machine
    hosts: dict[str, Host]
    vteps: dict[str, IPAddress]

    def converge(self, *members: Member) -> None:
        """Bring every host to what is wanted, and insist that a second look finds nothing to do."""
        for host in self.hosts.values():
            sandboxes = sorted({member.name for member in members if member.host == host.name})
            before = host.look(sandboxes)
            outcomes = host.carry_out(host.plan(members, self.vteps))
            assert [outcome for outcome in outcomes if outcome.error] == []
            host.announce(before, host.look(sandboxes))
            again = host.plan(members, self.vteps)
            assert again.operations == ()
            assert again.problems == ()


@contextmanager
def cluster_on(
    machine: Machine, names: Sequence[str], *, underlay: str = "198.51.100.0/24", mtu: int = 1500
) -> Iterator[Cluster]:
    """Give hosts on one switch; the calling thread visits them one after the other."""
    hosts: dict[str, Host] = {}
    vteps = hosts_on_switch(machine, names, underlay=underlay, mtu=mtu)
    try:
        for name in names:
            hosts[name] = _host(machine, name, vteps[name])
        yield Cluster(machine=machine, hosts=hosts, vteps=vteps)
    finally:
        for host in hosts.values():
            host.namespaces.close()


def _host(machine: Machine, name: str, vtep: IPAddress) -> Host:
    settings = Settings(
        host=name,
        state_dir=machine.state_dir / name,
        status_dir=machine.state_dir / name / "status",
        run_dir=machine.run_dir,
        netns_dir=machine.netns_dir,
        netns_etc_dir=machine.etc_netns_dir,
    )
    facts = replace(host_facts(), name=name, hostname=name, instance=settings.instance, vtep=vtep)
    with machine.inside(name):
        namespaces = Namespaces(settings.netns_dir, settings.instance)
    return Host(machine=machine, name=name, settings=settings, facts=facts, namespaces=namespaces)
