"""Choose host ports: declared ones first, then those promised before, then the lowest free ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from functools import cached_property
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from reconciler.errors import PlanError, PortTaken
from reconciler.model.desired import DesiredAttachment, DesiredEndpoint, DesiredNetwork, DesiredState, PortBinding
from reconciler.model.objects import IPAddress, Unit
from reconciler.model.observed import HostPorts
from reconciler.model.words import before_port
from reconciler.ports.demands import Demands, PortDemand, default_families, demands, ports_needed
from reconciler.ports.promises import Promised
from reconciler.ports.taken import Sockets, TakenPorts

_PORT_MAX: Final = 65535
PORTS_MAX: Final = 1 << 18
"""Ports that one host publishes at most. Each is a few elements of the firewall's maps; more is a mistake in the specs."""


def assign_ports(desired: DesiredState, promised: Promised, published: Promised, host: HostPorts) -> DesiredState:
    """Return the state with a host port for every published port. Never raises for what one attachment cannot have.

    promised: what the store remembers. published: what the firewall does right now; a socket that was bound since is no reason to
    take a running port away. Attachments that fail are left out and stand in `failures`; they stay as they run, so what they have
    stays taken. `desired` itself comes back when nobody publishes anything.
    """
    return PortAssigner()(desired, promised, published, host)


class _Settled(Struct, kw_only=True):
    """What came of the demands of one attachment. given: without ports. bindings: those that take a port of the host.

    needed: how many ports of the sandbox are published. seen: its promises, and what was published, when it was found to stand.
    """

    given: DesiredAttachment
    demands: Demands
    bindings: tuple[PortBinding, ...]
    result: DesiredAttachment
    needed: int
    seen: tuple[Sequence[PortBinding], Sequence[PortBinding]] = ((), ())

    def is_on(self, networks: Set[str]) -> bool:
        return any(endpoint.network in networks for endpoint in self.given.endpoints)

    def is_as(self, promised: Sequence[PortBinding], published: Sequence[PortBinding]) -> bool:
        has = {*self.bindings}
        return has == {*promised} and has <= {*published}


class PortAssigner:
    """`assign_ports` for one who asks again: who has what was promised and is published keeps it, unless others want it."""

    def __init__(self) -> None:
        self._standing: dict[str, _Settled] = {}
        self._taken = TakenPorts()
        self._settled: dict[str, _Settled] = {}
        self._networks: Mapping[str, DesiredNetwork] = {}

    def __call__(self, desired: DesiredState, promised: Promised, published: Promised, host: HostPorts) -> DesiredState:
        wanting = {a.name: a for a in desired.attachments if a.wanted.ports}
        networks, known = {network.name: network for network in desired.networks}, {**published, **promised}
        again = self._in_question(wanting, networks, promised, published, host)
        if not wanting:
            self._settled = {}
            return desired
        failures: dict[str, PlanError] = {}
        if self._are_too_many(again, wanting):
            failures = dict(_too_many(list(wanting.values())))
            self._standing, self._taken, again = {}, TakenPorts(), set(wanting)
        else:
            self._make_way(again, wanting, networks, known, _held(desired, known, ()))
        asked = [demands(wanting[name], networks) for name in sorted(again) if name not in failures]
        while True:
            assignment = _PortAssignment(promised=known, published=published, host=host, standing=self._taken)
            assignment.hold(_held(desired, known, failures))
            assignment.settle([d for d in asked if d.attachment not in failures])
            if not assignment.failures:
                break
            failures |= assignment.failures
        before, self._settled, self._networks = self._settled, dict(self._standing), networks
        for each in asked:
            name, bindings = each.attachment, assignment.chosen.get(each.attachment, ())
            if name not in failures:
                self._settled[name] = _settled(wanting[name], each, bindings, before.get(name))
        return _with_ports(desired, self._settled, asked, failures)

    def _in_question(
        self,
        wanting: Mapping[str, DesiredAttachment],
        networks: Mapping[str, DesiredNetwork],
        promised: Promised,
        published: Promised,
        host: HostPorts,
    ) -> set[str]:
        """Return who is to be decided for; nobody of them stands."""
        names = networks.keys() | self._networks.keys()
        changed = {name for name in names if networks.get(name) is not self._networks.get(name)}
        for name in self._standing.keys() - wanting.keys():
            self._discard(name)
        again = set()
        for name, attachment in wanting.items():
            settled, seen = self._settled.get(name), (promised.get(name, ()), published.get(name, ()))
            if settled is None or settled.given is not attachment or (changed and settled.is_on(changed)):
                self._discard(name)
                again.add(name)
            elif name not in self._standing:
                if settled.is_as(*seen) and _is_found_again(settled, promised, published, host):
                    self._add(name, settled, seen)
                if name not in self._standing:
                    again.add(name)
            elif seen != settled.seen:
                self._discard(name)
                if settled.is_as(*seen):
                    self._add(name, settled, seen)
                else:
                    again.add(name)
        return again

    def _make_way(
        self,
        again: set[str],
        wanting: Mapping[str, DesiredAttachment],
        networks: Mapping[str, DesiredNetwork],
        known: Promised,
        held: Iterable[str],
    ) -> None:
        """Have those decided too who stand on what others want or had: who has it is to be chosen anew, for both."""
        new = [*again, *held]
        while new:
            name = new.pop()
            places = [_place(binding) for binding in known.get(name, ())]
            if name in wanting:
                fixed = (each for each in demands(wanting[name], networks).open if each.is_fixed and each.choices)
                places += [(d.protocol, ip, d.choices[0]) for d in fixed if d.choices for ip in d.host_ips]
            for place in places:
                while (holder := self._taken.holder(*place)) is not None:
                    self._discard(holder)
                    again.add(holder)
                    new.append(holder)

    def _are_too_many(self, again: set[str], wanting: Mapping[str, DesiredAttachment]) -> bool:
        standing = sum(each.needed for each in self._standing.values())
        return standing + sum(_needed(wanting[name]) for name in again) > PORTS_MAX

    def _add(self, name: str, settled: _Settled, seen: tuple[Sequence[PortBinding], Sequence[PortBinding]]) -> None:
        places = [_place(binding) for binding in settled.bindings]
        if all(self._taken.holder(*place) is None for place in places):
            settled.seen = seen
            self._standing[name] = settled
            for place in places:
                self._taken.take(*place, name)

    def _discard(self, name: str) -> None:
        settled = self._standing.pop(name, None)
        for binding in settled.bindings if settled is not None else ():
            self._taken.give_back(*_place(binding))


def _settled(
    given: DesiredAttachment, asked: Demands, bindings: Sequence[PortBinding], before: _Settled | None
) -> _Settled:
    result = _attachment(given, (*asked.routed, *bindings))
    if before is not None and before.result == result:
        result = before.result
    return _Settled(given=given, demands=asked, bindings=tuple(bindings), result=result, needed=_needed(given))


def _is_found_again(settled: _Settled, promised: Promised, published: Promised, host: HostPorts) -> bool:
    """Return whether one alone would be given what it has, all of it because it was promised or declared."""
    name = settled.demands.attachment
    alone = _PortAssignment(
        promised={name: promised.get(name, ())},
        published={name: published.get(name, ())},
        host=host,
        standing=TakenPorts(),
    )
    alone.settle([settled.demands])
    return not alone.failures and not alone.has_searched and {*alone.chosen[name]} == {*settled.bindings}


def _too_many(wanting: Sequence[DesiredAttachment]) -> Iterator[tuple[str, PlanError]]:
    left = PORTS_MAX
    for attachment in wanting:
        count = _needed(attachment)
        if count > left:
            text = f"attachment {attachment.name}: with its {count} ports this host would publish more than {PORTS_MAX}"
            yield attachment.name, PlanError(f"{text}; publish fewer")
        else:
            left -= count


def _needed(attachment: DesiredAttachment) -> int:
    return sum(map(ports_needed, attachment.wanted.ports))


def _held(desired: DesiredState, known: Promised, failures: Iterable[str]) -> Iterator[str]:
    """Yield the attachments that stay as they run: they failed, or they may stand in specs that cannot be read."""
    failed = {unit.attachment for unit, _ in desired.failures}.union(failures)
    if desired.has_faults:
        failed |= known.keys() - {attachment.name for attachment in desired.attachments}
    return (name for name in sorted(failed) if name in known)


def _with_ports(
    desired: DesiredState,
    settled: Mapping[str, _Settled],
    asked: Sequence[Demands],
    failures: Mapping[str, PlanError],
) -> DesiredState:
    named = [(Unit(attachment=name), error) for name, error in failures.items()]
    told = {each.attachment: each.remarks for each in asked if each.remarks}
    told |= {name: each.demands.remarks for name, each in settled.items() if each.demands.remarks}
    return replace(
        desired,
        attachments=tuple(
            attachment if (found := settled.get(attachment.name)) is None else found.result
            for attachment in desired.attachments
            if attachment.name not in failures
        ),
        failures=tuple(sorted((*desired.failures, *named), key=lambda failure: failure[0])),
        remarks=(*desired.remarks, *((Unit(attachment=name), text) for name in sorted(told) for text in told[name])),
    )


def _attachment(attachment: DesiredAttachment, bindings: Sequence[PortBinding]) -> DesiredAttachment:
    if not bindings:
        return attachment
    endpoints = tuple(_endpoint(endpoint, bindings) for endpoint in attachment.endpoints)
    return replace(attachment, endpoints=endpoints)


def _endpoint(endpoint: DesiredEndpoint, bindings: Sequence[PortBinding]) -> DesiredEndpoint:
    families = set(default_families(endpoint))
    ports = [binding for binding in bindings if binding.host_ip.version in families]
    return replace(endpoint, ports=tuple(sorted(ports, key=_order))) if ports else endpoint


def _order(binding: PortBinding) -> tuple[str, int, int, int, int]:
    return (binding.protocol, binding.host_ip.version, int(binding.host_ip), binding.target, binding.host_port)


_Place = tuple[str, IPAddress, int]
"""Protocol, host address, host port."""


class _PortAssignment(Struct, kw_only=True, dict=True):
    """One attempt to give everybody their host ports. standing: those that are not in question."""

    promised: Promised
    published: Promised
    host: HostPorts
    standing: TakenPorts
    chosen: dict[str, list[PortBinding]] = field(default_factory=dict)
    failures: dict[str, PlanError] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._taken = TakenPorts()
        self._sockets = Sockets(self.host.sockets)
        self.has_searched = False
        self._next: dict[tuple[str, tuple[IPAddress, ...]], int] = {}

    @cached_property
    def _running(self) -> frozenset[_Place]:
        return frozenset(_place(binding) for bindings in self.published.values() for binding in bindings)

    def hold(self, names: Iterator[str]) -> None:
        """Keep what attachments have that stay as they run."""
        for name in names:
            for binding in self.promised[name]:
                self._taken.take(*_place(binding), name)

    def settle(self, asked: Sequence[Demands]) -> None:
        """Choose for all of them; `failures` names those that cannot have what they ask for."""
        for demanded in sorted(asked, key=self._newcomers_last):
            self.chosen[demanded.attachment] = []
            self._each(demanded, [demand for demand in demanded.open if demand.is_fixed], self._take_fixed)
        undecided = [(d, [demand for demand in d.open if not demand.is_fixed]) for d in asked]
        for d, open_demands in undecided:
            open_demands[:] = self._without_promised(d.attachment, open_demands)
        for d, open_demands in undecided:
            self._each(d, open_demands, self._take_lowest_free)

    def _newcomers_last(self, demanded: Demands) -> tuple[bool, str]:
        """Of two that want the same port, who has it now keeps it."""
        return (demanded.attachment not in self.published, demanded.attachment)

    def _each(
        self, demanded: Demands, wanted: Sequence[PortDemand], take: Callable[[str, PortDemand], PlanError | None]
    ) -> None:
        for demand in wanted:
            error = take(demanded.attachment, demand)
            if error is not None:
                self.failures.setdefault(demanded.attachment, error)
                return

    def _take_fixed(self, name: str, demand: PortDemand) -> PlanError | None:
        assert demand.choices is not None
        port = demand.choices[0]
        for host_ip in demand.host_ips:
            obstacle = self._obstacle(name, demand.protocol, host_ip, port)
            if obstacle is not None:
                text = f"Bind for {before_port(host_ip)}:{port} failed: port is already allocated: {obstacle}"
                holder = self._holder(demand.protocol, host_ip, port)
                return PortTaken(f"attachment {name}: {text}; choose another port", holder or "")
        self._take(name, demand, port)
        return None

    def _obstacle(self, name: str, protocol: str, host_ip: IPAddress, port: int) -> str | None:
        holder = self._holder(protocol, host_ip, port)
        if holder == name:
            return "it is published twice here"
        if holder is not None:
            return f"attachment {holder} has it"
        socket = self._sockets.holder(protocol, host_ip, port)
        if socket is None or (protocol, host_ip, port) in self._running:
            return None
        return f"a process of this host has {protocol} port {port} of {socket.address or 'all addresses'}"

    def _holder(self, protocol: str, host_ip: IPAddress, port: int) -> str | None:
        return self._taken.holder(protocol, host_ip, port) or self.standing.holder(protocol, host_ip, port)

    def _is_free(self, name: str, demand: PortDemand, port: int) -> bool:
        return all(self._obstacle(name, demand.protocol, host_ip, port) is None for host_ip in demand.host_ips)

    def _without_promised(self, name: str, wanted: Sequence[PortDemand]) -> list[PortDemand]:
        """Take again what was promised where it still will do; give the demands that are left.

        When one port of the sandbox is demanded several times, a port goes to whom it is the last chance of: so all find one again.
        """
        left = dict(enumerate(wanted))
        of: defaultdict[tuple[str, int, IPAddress], list[int]] = defaultdict(list)
        for number, demand in left.items():
            for host_ip in demand.host_ips:
                of[demand.protocol, demand.target, host_ip].append(number)
        for binding in sorted(self.promised.get(name, ()), key=lambda binding: binding.host_port):
            port, asking = binding.host_port, of.get((binding.protocol, binding.target, binding.host_ip), ())
            able = [n for n in asking if n in left and _will_do(left[n], port) and self._is_free(name, left[n], port)]
            if able:
                self._take(name, left.pop(min(able, key=lambda n: _last_choice(left[n]))), port)
        return list(left.values())

    def _take_lowest_free(self, name: str, demand: PortDemand) -> PlanError | None:
        self.has_searched = True
        port = next((port for port in self._candidates(demand) if self._is_free(name, demand, port)), None)
        if port is None:
            first, last = demand.choices or self.host.ephemeral
            text = f"all ports are allocated: none of {first}-{last} is free for {demand.protocol}"
            return PortTaken(f"attachment {name}: {text}")
        if demand.choices is None:
            self._next[demand.protocol, demand.host_ips] = port + 1
        self._take(name, demand, port)
        return None

    def _candidates(self, demand: PortDemand) -> Iterator[int]:
        """Yield what will do, lowest first; ephemeral ports from where the last search for the same addresses ended."""
        if demand.choices is not None:
            yield from range(demand.choices[0], demand.choices[1] + 1)
            return
        first, last = self.host.ephemeral
        for port in range(self._next.get((demand.protocol, demand.host_ips), first), last + 1):
            if not any(low <= port <= high for low, high in self.host.reserved):
                yield port

    def _take(self, name: str, demand: PortDemand, port: int) -> None:
        for host_ip in demand.host_ips:
            self._taken.take(demand.protocol, host_ip, port, name)
            binding = PortBinding(protocol=demand.protocol, host_ip=host_ip, host_port=port, target=demand.target)
            self.chosen[name].append(binding)


def _place(binding: PortBinding) -> _Place:
    return binding.protocol, binding.host_ip, binding.host_port


def _will_do(demand: PortDemand, port: int) -> bool:
    """An ephemeral port of before stays even when the host's range was moved meanwhile."""
    return demand.choices is None or demand.choices[0] <= port <= demand.choices[1]


def _last_choice(demand: PortDemand) -> int:
    return demand.choices[1] if demand.choices else _PORT_MAX
