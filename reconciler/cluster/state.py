"""All records of the cluster's store to what a host knows of the others. Never raises; a bad record harms only itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from reconciler.cluster.aliveness import is_reaper, seconds_since
from reconciler.cluster.reading import (
    Info,
    Misfit,
    endpoint_host,
    read_endpoint,
    read_info,
    read_left,
    read_life,
    read_member,
    read_name,
    read_network,
)
from reconciler.model.cluster import ClusterEndpoint, ClusterNode, ClusterState, GlobalNetwork, Member
from reconciler.model.desired import DesiredSubnet
from reconciler.model.objects import ClusterRecord, IPInterface, Key, Seen
from reconciler.spec.network import is_reserved

_FAULTS_MAX: Final = 100
_SHORT_ID: Final = 12
"""Hex digits of an id that go into names of links and namespaces: two networks that agree in them would share one."""

_FUTURE_MAX_S: Final = 3600
"""By how much clocks of hosts may differ; what was missed later than that has not been missed yet."""

Content = Info | Member | GlobalNetwork | ClusterEndpoint | str


def decode_state(
    records: Mapping[str, str],
    *,
    host: str,
    instance: str,
    followed: Collection[str],
    now: str,
    grace_s: float,
    nodes_folder: str,
) -> ClusterState:
    """Read records (path to text). Of two that cannot both hold, the first by path does; the other is left out and told.

    followed: networks whose folder is among the records. nodes_folder: where the hosts' own records are.
    """
    question = Question(
        host=host,
        instance=instance,
        followed=frozenset(followed),
        now=now,
        grace_s=grace_s,
        nodes_folder=nodes_folder,
    )
    return StateDecoder()(records, question)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """From whose point of view, and when, records are read; see `decode_state`."""

    host: str
    instance: str
    followed: frozenset[str]
    now: str
    grace_s: float
    nodes_folder: str


class StateDecoder:
    """Remembers what each record came to: of a thousand records a change touches few, the others are not read again."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, Content | Misfit]] = {}

    def __call__(self, records: Mapping[str, str], question: Question) -> ClusterState:
        return _Assembly(question, self._contents(records, question)).state(records)

    def expired(self, nodes: Mapping[str, str], question: Question) -> frozenset[str]:
        """Give the hosts whose records are this one's to delete. nodes: the records of hosts."""
        if not any(path.endswith("/left") for path in nodes):
            return frozenset()
        contents = {path: _content(path, text, question) for path, text in sorted(nodes.items())}
        return _Hosts(question, contents).expired()

    def _contents(self, records: Mapping[str, str], question: Question) -> Mapping[str, Content | Misfit]:
        known, self._known = self._known, {}
        for path in sorted(records):
            text, before = records[path], known.get(path)
            self._known[path] = before if before and before[0] == text else (text, _content(path, text, question))
        return {path: content for path, (_, content) in self._known.items()}


def _content(path: str, text: str, question: Question) -> Content | Misfit:
    """Give what a record says, "" for one that is not read here; a Misfit is given, not raised."""
    try:
        if path.startswith(question.nodes_folder):
            return _node_content(path.removeprefix(question.nodes_folder).split("/"), text)
        match path.split("/"):
            case ["networks", name]:
                return read_network(name, text)
            case ["network", network, "members", host]:
                read_name(network)
                return read_member(host, text)
            case ["network", network, "endpoints", name]:
                return read_endpoint(network, name, text)
    except Misfit as misfit:
        return Misfit(str(misfit))  # without the traceback, which would keep the record's text
    return ""


_OF_NODES: Final[Mapping[str, Callable[[str], Info | str]]] = {"info": read_info, "life": read_life, "left": read_left}


def _node_content(segments: list[str], text: str) -> Info | str:
    match segments:
        case [host, kind] if kind in _OF_NODES:
            read_name(host)
            return _OF_NODES[kind](text)
    return ""


class _Hosts:
    """Who is there, who is not, and what that makes of the host that asks."""

    def __init__(self, question: Question, contents: Mapping[str, Content | Misfit]) -> None:
        self._question = question
        self._contents = contents
        self.left = self._missed()
        self.nodes = self._known()
        me = self.nodes.get(question.host)
        self.is_impostor = me is not None and me.is_alive and me.instance != question.instance
        self.is_reaper = not self.is_impostor and is_reaper(self.nodes, question.host)

    def expired(self) -> frozenset[str]:
        """Give the hosts that this one tidies up after: dead for longer than the grace period."""
        if not self.is_reaper:
            return frozenset()
        return frozenset(
            host
            for host, at in self.left.items()
            if host != self._question.host
            and (host not in self.nodes or not self.nodes[host].is_alive)
            and seconds_since(at, self._question.now) >= self._question.grace_s
        )

    def _missed(self) -> Mapping[str, str]:
        """Give when each host was missed first. What is yet to come counts as not missed."""
        found = {}
        for host, at in self._of_kind("left"):
            if isinstance(at, str) and seconds_since(at, self._question.now) > -_FUTURE_MAX_S:
                found[host] = at
        return found

    def _known(self) -> Mapping[str, ClusterNode]:
        lives = {host: life for host, life in self._of_kind("life") if isinstance(life, str)}
        nodes = {}
        for host, info in self._of_kind("info"):
            if isinstance(info, Info):
                nodes[host] = ClusterNode(
                    name=host,
                    address=info.address,
                    instance=lives.get(host, info.instance),
                    is_watched=info.is_watched,
                    is_alive=host in lives or not info.is_watched,
                    left=self.left.get(host, ""),
                )
        return nodes

    def _of_kind(self, kind: str) -> Iterator[tuple[str, Content | Misfit]]:
        folder = self._question.nodes_folder
        for path, content in self._contents.items():
            host, _, last = path.removeprefix(folder).partition("/")
            if last == kind and path.startswith(folder) and content != "":
                yield host, content


class _Assembly:
    """Puts records together that are each fine by themselves."""

    def __init__(self, question: Question, contents: Mapping[str, Content | Misfit]) -> None:
        self._question = question
        self._contents = contents
        self._faults: list[str] = []

    def state(self, records: Mapping[str, str]) -> ClusterState:
        for path, content in self._contents.items():
            if isinstance(content, Misfit):
                self._tell(path, str(content))
        hosts = _Hosts(self._question, self._contents)
        networks = self._networks()
        whose = _Whose(self._question, hosts, self._hosts_by_network())
        return ClusterState(
            host=self._question.host,
            nodes=hosts.nodes,
            networks=networks,
            seen=tuple(whose.seen(records, self._contents)),
            faults=tuple(self._bounded_faults()),
        )

    def _networks(self) -> Mapping[str, GlobalNetwork]:
        networks = self._declared()
        members: defaultdict[str, list[Member]] = defaultdict(list)
        places = {name: _Places(network.subnets) for name, network in networks.items()}
        for path, content in self._contents.items():
            network = path.split("/")[1] if path.startswith("network/") else ""
            if isinstance(content, Member):
                members[network].append(content)
            elif isinstance(content, ClusterEndpoint):
                reason = places[network].refusal(content) if network in places else "its network is not known"
                if reason:
                    self._tell(path, reason)
        return {
            name: replace(network, members=tuple(members[name]), endpoints=tuple(places[name].taken))
            for name, network in networks.items()
        }

    def _hosts_by_network(self) -> Mapping[str, Collection[str]]:
        """Give who has to do with each network, also by records that were left out."""
        hosts: defaultdict[str, set[str]] = defaultdict(set)
        for path, content in self._contents.items():
            if isinstance(content, Member | ClusterEndpoint):
                hosts[path.split("/")[1]].add(content.host)
        return hosts

    def _declared(self) -> dict[str, GlobalNetwork]:
        networks: dict[str, GlobalNetwork] = {}
        ids: set[str] = set()
        vnis: set[int] = set()
        for path, content in self._contents.items():
            if not isinstance(content, GlobalNetwork):
                continue
            own_vnis = {subnet.vni for subnet in content.subnets if subnet.vni is not None}
            if content.id[:_SHORT_ID] in ids:
                self._tell(path, "another network has its id")
            elif own_vnis & vnis:
                self._tell(path, "another network has one of its VNIs")
            else:
                networks[content.name] = content
                ids.add(content.id[:_SHORT_ID])
                vnis |= own_vnis
        return networks

    def _tell(self, path: str, reason: str) -> None:
        self._faults.append(f"record {path[:200]!r} left out: {reason}")

    def _bounded_faults(self) -> Iterator[str]:
        yield from self._faults[:_FAULTS_MAX]
        if len(self._faults) > _FAULTS_MAX:
            yield f"{len(self._faults) - _FAULTS_MAX} more records left out"


class _Places:
    """The addresses of one network: what fits in and is nobody else's."""

    def __init__(self, subnets: tuple[DesiredSubnet, ...]) -> None:
        self._subnets = {subnet.subnet: subnet for subnet in subnets}
        self._used: set[object] = set()
        self.taken: list[ClusterEndpoint] = []

    def refusal(self, endpoint: ClusterEndpoint) -> str:
        """Take an endpoint in, or say why not."""
        interfaces = [interface for interface in (endpoint.ipv4, endpoint.ipv6) if interface is not None]
        if not all(self._is_place(interface) for interface in interfaces):
            return "an address is none for endpoints of its network"
        mine = {endpoint.id, endpoint.mac, *(interface.ip for interface in interfaces)}
        if mine & self._used:
            return "another endpoint has its id, MAC address or address"
        self._used |= mine
        self.taken.append(endpoint)
        return ""

    def _is_place(self, interface: IPInterface) -> bool:
        subnet = self._subnets.get(interface.network)
        if subnet is None or is_reserved(interface.ip, subnet.subnet):
            return False
        return interface.ip not in (subnet.gateway, subnet.default_gateway, *(a for _, a in subnet.aux_addresses))


class _Whose:
    """Which records are this host's to change or delete."""

    def __init__(self, question: Question, hosts: _Hosts, by_network: Mapping[str, Collection[str]]) -> None:
        self._question = question
        self._by_network = by_network
        self._is_impostor = hosts.is_impostor
        self._is_reaper = hosts.is_reaper
        self._expired = hosts.expired()

    def seen(self, records: Mapping[str, str], contents: Mapping[str, Content | Misfit]) -> Iterator[tuple[Key, Seen]]:
        """Give all records but signs of life, which no pass writes, and those of others that nobody but them reads."""
        for path, content in contents.items():
            is_ours = self._is_ours(path, content, records[path])
            if is_ours is not None:
                record = ClusterRecord(path=path, value=records[path])
                yield record.key, Seen(record, is_ours=is_ours)

    def _is_ours(self, path: str, content: Content | Misfit, text: str) -> bool | None:
        """None for what is no record of a pass."""
        folder = self._question.nodes_folder
        match path.removeprefix(folder).split("/") if path.startswith(folder) else ():
            case [host, "info"]:
                return self._is_mine(host)
            case [_, "left"]:
                return self._is_reaper
        match path.split("/"):
            case ["revisions", host] | ["network", _, "members", host]:
                return self._is_mine(host)
            case ["network", _, "endpoints", _]:
                return self._is_mine(content.host if isinstance(content, ClusterEndpoint) else endpoint_host(text))
            case ["networks", name]:
                return self._is_lonely(name)
        return None

    def _is_mine(self, host: str) -> bool:
        return host in self._expired or (host == self._question.host and not self._is_impostor)

    def _is_lonely(self, name: str) -> bool:
        """Say whether no other host has to do with a network whose members are known."""
        is_known = name in self._question.followed and not self._is_impostor
        return is_known and set(self._by_network.get(name, ())) <= {self._question.host}
