"""What must hold on a cluster: at any moment, and once all is mended and has settled."""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from reconciler.errors import KvError
from reconciler.model.identifiers import OVERLAY_PREFIX
from tests.drill.scene import DrillFailed, HostState, Scene
from tests.drill.truth import (
    NETWORKS,
    Endpoint,
    asked,
    endpoints_in,
    entries_in,
    live_endpoints,
    overlays,
    sandbox_of,
    vni_in,
)

_BAD_WORDS = ("Traceback", "bug:", "Exception in thread")


# ---- at any moment


def look(scene: Scene) -> None:
    """See that no two live endpoints have one address or MAC, and that a network has one VNI. Raises DrillFailed."""
    if scene.is_strict:
        _see_no_duplicates(scene)
        _see_one_vni(scene)
    for state in scene.up:
        watcher = state.host.watcher
        if watcher is not None and watcher.poll() is not None:
            raise DrillFailed(f"the watcher of {state.name} ended with {watcher.returncode}")


def _see_no_duplicates(scene: Scene) -> None:
    """What is found is looked at again: one may have gone before the other came."""
    holders: dict[tuple[str, str], Endpoint] = {}
    for endpoint in live_endpoints(scene.machine):
        for mark in (*endpoint.addresses, endpoint.mac):
            other = holders.setdefault((endpoint.network, mark), endpoint)
            if other is endpoint:
                continue
            again = endpoints_in(scene.machine, other.host, other.name)
            if any(mark in (*each.addresses, each.mac) for each in again if each.network == other.network):
                raise DrillFailed(f"two endpoints are live with {mark}: {other} and {endpoint}")


def _see_one_vni(scene: Scene) -> None:
    known: dict[str, tuple[int, str]] = {}
    for state in scene.up:
        for id_, ns in overlays(scene.machine, state.host).items():
            vni = vni_in(scene.machine, ns)
            other, where = known.setdefault(id_, (vni, state.name)) if vni else (vni, "")
            if vni != other:
                raise DrillFailed(f"network {id_} has VNI {other} on {where} and {vni} on {state.name}")


# ---- once all has settled


def shape(scene: Scene) -> str:
    """Give what each network and endpoint is: ids, subnets, VNIs, addresses, MACs."""
    networks = {
        f"{state.name} {network}": [shown["Id"], shown["IPAM"]]
        for state in scene.up
        for network in NETWORKS
        if (shown := state.host.network(network))
    }
    vnis = {ns: vni_in(scene.machine, ns) for state in scene.up for ns in overlays(scene.machine, state.host).values()}
    return json.dumps([networks, vnis, sorted(live_endpoints(scene.machine))], sort_keys=True)


def is_contested(scene: Scene) -> bool:
    """Say whether two hosts want the same: who of them has it may change. So may a network that is only joined."""
    declared = {network for state in scene.up for network in state.networks}
    return any(contests(scene, state) or state.external - declared for state in scene.hosts.values())


def wrongs(scene: Scene) -> Iterator[str]:
    """Yield what is not (yet) as it must be when all is mended; what is cheap to see first."""
    live = list(live_endpoints(scene.machine))
    _see_available(scene)
    yield from _wrong_watchers(scene)
    yield from _wrong_endpoints(scene, live)
    yield from _wrong_networks(scene)
    sure = [each for each in live if not scene.hosts[each.host].is_waiting(each.name)]
    waiting = [each for each in live if each not in sure]
    yield from _wrong_records(scene, live)
    yield from _wrong_entries(scene, sure, waiting)
    yield from _wrong_names(scene, sure, waiting)
    yield from _unreached(scene, sure)


def _see_available(scene: Scene) -> None:
    """Note which networks there are to join: once declared, one stays as long as anybody is on it."""
    with contextlib.suppress(KvError):
        found = {path.removeprefix("networks/") for path in scene.stored() if path.startswith("networks/")}
        for state in scene.hosts.values():
            state.available = found


def _wrong_watchers(scene: Scene) -> Iterator[str]:
    for state in scene.up:
        for network in sorted({each for one in state.attachments().values() for each in one.networks}):
            condition = state.host.condition(network)
            if condition.get("status") != "True" and not contests(scene, state):
                yield f"{state.name}: network {network} is {condition}"


def contests(scene: Scene, state: HostState) -> bool:
    return any(not _is_sure(scene, state, name) for name in state.attachments())


def _is_sure(scene: Scene, state: HostState, name: str) -> bool:
    """Say whether nobody else wants this name or address."""
    if state.is_waiting(name):
        return False
    address = state.attachments()[name].address
    for other in scene.hosts.values():
        theirs = other.once if other.is_lost else other.attachments()
        if other is not state and any(
            each == name or (address and one.address == address) for each, one in theirs.items()
        ):
            return False
    return True


def _wrong_endpoints(scene: Scene, live: Iterable[Endpoint]) -> Iterator[str]:
    """Compare what is there with what is declared; of those that contest a name or an address one has it."""
    there = {(each.host, each.name, each.network) for each in live}
    names, addresses = defaultdict(list), defaultdict(list)
    for each in live:
        names[each.network, each.name].append(each.host)
        for address in (*each.addresses, each.mac):
            addresses[each.network, address].append(f"{each.host}/{each.name}")
    yield from (f"{key} is there more than once: {found}" for key, found in names.items() if len(found) > 1)
    yield from (f"{key} is there more than once: {found}" for key, found in addresses.items() if len(found) > 1)
    declared = {
        (state.name, name, network): (state, name)
        for state in scene.up
        for name, one in state.attachments().items()
        for network in one.networks
    }
    for host, name, network in sorted(there - declared.keys()):
        if not scene.hosts[host].is_waiting(name):
            yield f"{(host, name, network)} is there and not declared"
    for key in sorted(declared.keys() - there):
        if _is_sure(scene, *declared[key]):
            yield f"{key} is declared and not there"
    yield from _unheld(scene, there)


def _unheld(scene: Scene, there: set[tuple[str, str, str]]) -> Iterator[str]:
    """Yield contested addresses that nobody has, and nobody is lost who may be promised it."""
    if scene.lost:
        return
    wanted = defaultdict(set)
    for state in scene.up:
        for name, one in state.attachments().items():
            for network in one.networks:
                wanted[network, one.address or name].add((state.name, name, network))
    for key, who in wanted.items():
        if not who & there and not any(scene.hosts[host].is_waiting(name) for host, name, _ in who):
            yield f"{key} is contested, and nobody has it"


def _wrong_networks(scene: Scene) -> Iterator[str]:
    for network in ("net", "auto"):
        seen = {}
        for state in scene.up:
            shown = state.host.network(network)
            if network in state.present and not shown:
                yield f"{state.name} shows no network {network}"
            if shown:
                seen[state.name] = json.dumps([shown["Id"], shown["IPAM"], shown["EnableIPv6"]])
        if len(set(seen.values())) > 1:
            yield f"network {network} is not the same everywhere: {seen}"
    vnis: dict[str, set[int]] = defaultdict(set)
    for state in scene.up:
        for id_, ns in overlays(scene.machine, state.host).items():
            vnis[id_].add(vni_in(scene.machine, ns))
    yield from (f"network {id_} has VNIs {found}" for id_, found in vnis.items() if len(found) > 1 or 0 in found)


def _wrong_records(scene: Scene, live: Iterable[Endpoint]) -> Iterator[str]:
    """Compare what the store has with what is there, and what lost hosts may have left."""
    try:
        stored = scene.stored()
    except KvError as error:
        yield f"the store: {error}"
        return
    kept = {name for state in scene.lost for name in state.once}
    kept |= {name for state in scene.up for name in state.declared if state.is_waiting(name)}
    there = {(each.network, each.name): each for each in live}
    for path, text in stored.items():
        match path.split("/"):
            case ["network", network, "endpoints", name]:
                yield from _wrong_endpoint(path, text, there.get((network, name)), is_kept=name in kept)
            case ["addresses" | "vnis" | "pools", *_]:
                if text not in stored:
                    yield f"{path} is claimed for {text}, which is not there"
            case ["network", network, "members", host]:
                if host not in scene.hosts or (
                    not scene.hosts[host].is_lost and network not in scene.hosts[host].present
                ):
                    yield f"{path} is there, though {host} has no such network"
            case ["networks", network]:
                if not any(other.startswith(f"network/{network}/members/") for other in stored):
                    yield f"{path} is there without members"
            case ["leaving", network]:
                if f"networks/{network}" not in stored:
                    yield f"{path} is there without its network"
            case ["nodes", host, kind]:
                yield from _wrong_node(scene, host, kind, text)
    for state in scene.up:
        for kind in ("info", "life"):
            if f"nodes/{state.name}/{kind}" not in stored:
                yield f"{state.name} has no nodes/{state.name}/{kind}"
    recorded = {tuple(path.split("/")[1::2]) for path in stored if "/endpoints/" in path}
    for network, name in there.keys() - recorded:
        host = scene.hosts[there[network, name].host]
        if network in host.present or not host.is_waiting(name):
            yield f"endpoint {(network, name)} has no record"


def _wrong_endpoint(path: str, text: str, endpoint: Endpoint | None, *, is_kept: bool) -> Iterator[str]:
    if endpoint is None:
        if not is_kept:
            yield f"{path} is there, and the endpoint is not"
        return
    record = json.loads(text)
    addresses = {record[family].partition("/")[0] for family in ("ipv4", "ipv6") if record[family]}
    if (record["host"], addresses, record["mac"]) != (endpoint.host, set(endpoint.addresses), endpoint.mac):
        yield f"{path} says {text}, there is {endpoint}"


def _wrong_node(scene: Scene, host: str, kind: str, text: str) -> Iterator[str]:
    is_lost = host not in scene.hosts or scene.hosts[host].is_lost
    if kind == "life" and is_lost:
        yield f"nodes/{host}/life is there, and {host} is lost"
    if kind == "left" and not is_lost:
        yield f"nodes/{host}/left is there, and {host} is not lost"
    if kind == "info" and not is_lost and not json.loads(text)["watched"]:
        yield f"nodes/{host}/info says that nobody watches"


def _wrong_entries(scene: Scene, live: Iterable[Endpoint], waiting: Iterable[Endpoint]) -> Iterator[str]:
    """Compare what each host leads elsewhere with where that is. waiting: of these a store that lost its data may not know."""
    ids = {state.host.network(network).get("Id", "")[:12]: network for state in scene.up for network in ("net", "auto")}
    for state in scene.up:
        for id_, ns in overlays(scene.machine, state.host).items():
            others = [each for each in live if each.network == ids.get(id_) and each.host != state.name]
            maybe = [each for each in waiting if each.network == ids.get(id_) and each.host != state.name]
            found = entries_in(scene.machine, ns)
            forwarding = {(each.mac, str(scene.hosts[each.host].host.address)) for each in others}
            neighbours = {(address, each.mac) for each in others for address in each.addresses}
            if ids.get(id_, "") in state.external - state.available:
                continue  # nothing is done about it until it is back
            may = {(each.mac, str(scene.hosts[each.host].host.address)) for each in maybe}
            may |= {(address, each.mac) for each in maybe for address in each.addresses}
            for what, has, shall in (
                ("forwarding", found.forwarding, forwarding),
                ("neighbours", found.neighbours, neighbours),
            ):
                if has - may != shall:
                    yield f"{state.name}, {ids.get(id_)}: {what} has {sorted(has - shall)}, lacks {sorted(shall - has)}"


def _wrong_names(scene: Scene, live: Iterable[Endpoint], waiting: Iterable[Endpoint]) -> Iterator[str]:
    """Ask on each host for all names that ever were. waiting: as above."""
    unsure = {each.name for each in waiting}
    truth: Mapping[str, set[str]] = defaultdict(set)
    for each in live:
        if each.network == "net":
            truth[each.name].add(each.addresses[0])
    names = sorted({name for state in scene.hosts.values() for name in state.once} | truth.keys())
    for state in scene.up:
        for name in names:
            if name in unsure:
                continue
            answer = asked(scene.machine, sandbox_of(state.name, f"{state.name}-0"), name)
            if (answer or set()) != truth[name]:
                yield f"{state.name}: the name {name} is {answer}, not {truth[name]}"


def _unreached(scene: Scene, live: Iterable[Endpoint]) -> Iterator[str]:
    """Ping from each host to one sandbox of each other, on each network."""
    first: dict[tuple[str, str], Endpoint] = {}
    for each in sorted(live):
        first.setdefault((each.network, each.host), each)
    for (network, host), source in first.items():
        for (other_network, other), target in first.items():
            if network == other_network and host != other:
                for address in target.addresses:
                    ns = sandbox_of(host, source.name)
                    if scene.machine.run(ns, "ping", "-nqc1", "-W2", address, check=False).returncode:
                        yield f"{host} does not reach {target} at {address}"


def undone(hosts: Iterable[HostState]) -> Iterator[str]:
    """Yield what a pass that begins from nothing would change."""
    for state in hosts:
        done = state.run("--dry-run", "--output", "json")
        try:
            changes = json.loads(done.stdout)["resource_changes"]
        except (ValueError, KeyError):
            changes = done.text
        if changes:
            yield f"{state.name}: a pass would change {json.dumps(changes)[:2000]}"


def see_logs(scene: Scene) -> None:
    """See that no watcher complains of a bug. Raises DrillFailed."""
    for state in scene.hosts.values():
        lines = state.host.log_text().splitlines()
        found = next((i for i, line in enumerate(lines) if any(word in line for word in _BAD_WORDS)), None)
        if found is not None:
            raise DrillFailed(f"{state.name} says:\n" + "\n".join(lines[found : found + 40]))


def see_nothing_left(scene: Scene) -> None:
    """See that nothing of ours is in the store or on a host. Raises DrillFailed."""
    left = scene.stored()
    if left:
        raise DrillFailed(f"left in the store: {json.dumps(left)[:2000]}")
    spaces = [ns for ns in scene.machine.namespaces() if ns.startswith(("box-", OVERLAY_PREFIX))]
    if spaces:
        raise DrillFailed(f"left behind: {spaces}")
    for state in scene.up:
        links = scene.machine.links(state.name)
        if links != ["lo", "underlay0"]:
            raise DrillFailed(f"left on {state.name}: {links}")
