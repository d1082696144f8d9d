"""A host's life on the real kernel, drawn by hypothesis: what is declared and done to it, and what must hold after each pass."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from reconciler.dns.launch import running_server
from tests.command_line import Ran, Reconcile, run_command
from tests.differences import differences
from tests.fork_server import Hook
from tests.machine import Machine
from tests.model import hands
from tests.model.kernel import HOST_NS, Comparison, Known, KnownEndpoint, Seen, inspected_ids, look
from tests.model.picture import (
    ATTACHMENTS,
    BRIDGES,
    DEFAULT,
    GUEST,
    PARENT,
    SUBLINKS,
    Attachment,
    Endpoint,
    EndpointKey,
    Network,
    Picture,
    Port,
)
from tests.model.traffic import HOST, OUTSIDE_NS, differing
from tests.pipeline.host_view import records, sysctls
from tests.underlay import add_uplink
from tests.waiting import has_ended, until

BACKWARDS: Final = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8")
"""What `outside` knows to be behind the host, as a hostile neighbour would."""

BAD: Final = (
    "networks: {bad: [\n",
    "attachments: {bad: {networks: [nowhere]}}\n",
    "wrong: 1\n",
    "networks: {bad: {ipam: {config: [{subnet: 10.99.0.5/24}]}}}\n",
    "networks: {bad: {internal: perhaps}}\n",
    "",
)
"""Files of specs with faults; for "" the file of all specs is cut off in the middle."""


@dataclass(frozen=True, slots=True)
class Pass:
    """How a pass is made. kills: before which writes others before it die. packets: which sample, if any."""

    kills: tuple[int, ...]
    packets: int | None


PLACES = st.integers(0, 10_000)
WRITES = st.one_of(st.integers(0, 12), st.integers(0, 60), st.integers(0, 150))
PASSES = st.builds(
    Pass,
    kills=st.one_of(st.just(()), st.just(()), st.lists(WRITES, min_size=1, max_size=3).map(tuple)),
    packets=st.one_of(st.none(), PLACES),
)
DRIFTS = st.tuples(st.sampled_from(sorted(hands.DRIFTS)), PLACES)
THEN = st.one_of(st.none(), PASSES, PASSES)


@dataclass(slots=True)
class World:
    """Where lives are lived, one after the other. done: what was done, in all of them."""

    machine: Machine
    reconcile: Reconcile
    done: Counter[str] = field(default_factory=Counter)


class Life(RuleBasedStateMachine):
    """See the module. picture: what is declared; applied: what was, when a pass last ended well; stood: its endpoints."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world, self.machine, self.reconcile = world, world.machine, world.reconcile
        self.picture, self.applied = Picture(), Picture(networks={})
        self.known = Known()
        self.stood: dict[EndpointKey, KnownEndpoint] = {}
        self.recreated: set[EndpointKey] = set()
        self.strangers: list[int] = []
        self.by_hand: dict[str, set[tuple[str, int]]] = {}
        self.is_killed = self.is_lost = self.was_lost = self.is_changed = False
        self.foreign: dict[str, Any] | None = None
        self.is_well = False
        self._begin()
        self.is_well = True

    # --- the world

    def _begin(self) -> None:
        self.is_bridge_filtered = self.world.done["lives"] % 2 == 0
        self.world.done["lives"] += 1
        self._end_name_server()
        self.machine.clean()
        shutil.rmtree(self.machine.state_dir, ignore_errors=True)
        self._boot()
        self.sysctls = sysctls(self.machine, HOST_NS)
        for network in (Network(name="n1", number=1), Network(name="n2", number=2, has_icc=False)):
            self.picture = self.picture.with_network(network)
        for name, joined in (("a", ("n1",)), ("b", ("n1", "n2")), ("c", ("n2",))):
            attachment = Attachment(name=name, networks=dict.fromkeys(joined, Endpoint()))
            self.picture = self.picture.with_attachment(attachment)
        self.make_a_pass(Pass((), None))

    def _boot(self) -> None:
        """Make the host and its neighbours as they are before anything of ours."""
        machine = self.machine
        machine.add_namespace(HOST_NS)
        machine.detect_no_duplicates(HOST_NS)
        machine.filter_bridged(HOST_NS, is_filtered=self.is_bridge_filtered)
        add_uplink(machine, HOST_NS)
        machine.ip_batch(OUTSIDE_NS, *(f"route add {to} via {HOST[6 if ':' in to else 4]}" for to in BACKWARDS))
        machine.add_namespace(GUEST)
        machine.detect_no_duplicates(GUEST)
        machine.add_veth(HOST_NS, PARENT, OUTSIDE_NS, PARENT)
        machine.add_veth(GUEST, "own0", GUEST, "own1")
        machine.ip_batch(GUEST, "address add 10.203.0.1/24 dev own0")
        for number in self.strangers:
            hands.add_stranger(machine, number)

    def _end_name_server(self) -> None:
        running = running_server(self.machine.run_dir)
        if running is not None:
            os.kill(running.pid, signal.SIGKILL)
            until(lambda: has_ended(running.pid), every_s=0.005)

    @contextmanager
    def _step(self, what: str) -> Iterator[None]:
        """Only a life in which all went well is looked at in the end."""
        self.is_well = False
        self.world.done["steps"] += 1
        self.world.done[what] += 1
        yield
        self.is_well = True

    # --- passes and what must hold after them

    def _write(self) -> None:
        self.reconcile.write(all=self.picture.text())

    def _look(self) -> Seen:
        """Look at the host before a command; remember what is of others, and which links of ours somebody has deleted."""
        seen = look(self.machine)
        if self.foreign is None:
            self.foreign = seen.foreign(self._own_spaces(seen))
        for key, known in self.known.endpoints.items():
            space = seen.spaces.get(key[0])
            is_there = space is not None and space.by_index.get(known.link) == known.ifname
            if not is_there or (self.is_lost and not self._is_whole(key, seen)):
                self.recreated.add(key)
        self.by_hand = {ns: found.put_by_hand() for ns, found in seen.spaces.items()}
        for network, (name, index) in self.known.bridges.items():
            if seen.host.by_index.get(index) != name:
                self.recreated.add(("", network))
        if seen.host.is_dead_end_damaged():  # it is made anew, and what sits on it
            self.recreated |= {key for key in self.known.endpoints if key[1] == SUBLINKS[1]}
        if self.is_lost:
            self._forget_what_is_nowhere()
        return seen

    def _is_whole(self, key: EndpointKey, seen: Seen) -> bool:
        """Say whether the kernel has all that was chosen for an endpoint."""
        known, link = self.known.endpoints[key], seen.spaces[key[0]].links[self.known.endpoints[key].ifname]
        addresses = {f"{each['local']}/{each['prefixlen']}" for each in link["addr_info"]}
        bridge = self.known.bridges.get(key[1])
        other = seen.host.links.get(seen.host.by_index.get(link.get("link_index", 0), ""), {})
        is_on_bridge = bridge is None or other.get("master") == bridge[0]
        return {known.ipv4, known.ipv6} - {""} <= addresses and link["address"] == known.mac and is_on_bridge

    def _forget_what_is_nowhere(self) -> None:
        """What neither a record nor the kernel has may be chosen anew: an isolated network's bridge has no address."""
        for wanted in self.applied.networks.values():
            if wanted.is_isolated:
                self._forget_subnets(wanted.name)
        for network in [name for place, name in self.recreated if not place]:
            self.recreated |= {key for key in self.known.endpoints if key[1] == network}
            self._forget_subnets(network)
        self.known.forget(self.recreated)

    def _forget_subnets(self, network: str) -> None:
        for version in (4, 6):
            self.known.subnets.pop((network, version), None)

    def _own_spaces(self, seen: Seen) -> set[str]:
        return seen.spaces.keys() & (set(ATTACHMENTS) - {GUEST})

    def _permission(self) -> tuple[bool, list[str]]:
        """Say whether a guard holds back what is no longer declared, and what lets it go."""
        gone = self.applied.networks.keys() - self.picture.networks.keys() - {DEFAULT}
        running = self.applied.networks.keys() - {DEFAULT}
        users = self.picture.networks.keys() - {DEFAULT}
        if users or self.picture.attachments:
            is_held = (len(gone) >= 3 and len(gone) * 2 > len(running)) or bool(gone and not users)
        else:
            is_held = bool(gone or self.applied.attachments)
        protected = sorted(name for name in gone if self.applied.networks[name].is_protected)
        unprotect = [word for name in protected for word in ("--unprotect", name)]
        return is_held or bool(protected), ["--allow-prune", *unprotect]

    def make_a_pass(self, how: Pass) -> None:
        """Make the host as declared, by as many attempts as are killed on the way, and judge it."""
        self._write()
        self._look()
        is_held, permission = self._permission()
        is_certain = not (self.is_killed or self.is_lost)
        if is_held and is_certain:
            self._held_back()
        arguments = permission if is_held or not is_certain else []
        for number in how.kills:
            self._attempt(number, *arguments)
        planned = self._run("--dry-run", "--output", "json", *arguments)
        done = self._run(*arguments)
        self.world.done["passes"] += 1
        assert done.exit_code == 0, done.text
        self._was_as_planned(planned, done)
        self._judge()
        self._again(arguments)
        self.applied, self.stood, self.recreated = self.picture, dict(self.known.endpoints), set()
        self.is_killed = self.is_lost = self.is_changed = False
        if how.packets is not None:
            self._send_packets(how.packets)

    def _run(self, *arguments: str, hooks: Sequence[Hook] = ()) -> Ran:
        done = run_command([*self.reconcile.options(), *arguments], hooks=hooks, timeout_s=60)
        note(f"{' '.join(arguments)}: exit {done.exit_code}")
        assert "Traceback" not in done.stderr, done.text
        return done

    def _attempt(self, number: int, *arguments: str) -> bool:
        """Run a command that dies before that write, if it makes so many; say whether it did."""
        with open(os.devnull, "wb") as log:
            done = self._run(*arguments, hooks=[Hook("tests.pipeline.forked:watch_writes", (number,), log.fileno())])
        assert done.exit_code in (0, -signal.SIGKILL), done.text
        is_killed = done.exit_code != 0
        self.world.done["kills"] += is_killed
        self.is_killed |= is_killed
        return is_killed

    def _held_back(self) -> None:
        """What a guard holds back stays as it is, and a dry run says so."""
        self.world.done["guards held"] += 1
        assert self._run("--dry-run").exit_code == 3
        before = look(self.machine)
        done = self._run()
        assert done.exit_code == 3, done.text
        after = look(self.machine)
        for name in self.applied.networks.keys() - self.picture.networks.keys():
            links = [(HOST_NS, *self.known.bridges[name])] if name in self.known.bridges else []
            links += [(who, one.ifname, one.link) for (who, on), one in self.stood.items() if on == name]
            for ns, ifname, index in links:
                if ns in before.spaces and before.spaces[ns].by_index.get(index) == ifname:
                    assert ns in after.spaces, f"namespace {ns} went with {name}, which was held back"
                    assert after.spaces[ns].by_index.get(index) == ifname, (
                        f"{ifname} in {ns} went with {name}, held back"
                    )

    def _was_as_planned(self, planned: Ran, done: Ran) -> None:
        assert planned.exit_code == 0, planned.text
        actions = Counter(
            action for each in json.loads(planned.stdout)["resource_changes"] for action in each["actions"]
        )
        told = f"{actions['create']} created, {actions['update']} changed, {actions['delete']} deleted in "
        last = done.stderr.splitlines()[-1]
        wanted = told if actions.total() else "nothing to do in "
        assert last.startswith(wanted), f"planned: {wanted}\n{planned.stdout}\n{done.text}"

    def _judge(self, blocked: frozenset[str] = frozenset()) -> None:
        seen = look(self.machine)
        for name, id_ in inspected_ids(self.machine).items():
            before = self.known.ids.setdefault(name, id_)
            assert before == id_, f"the id of {name} is another: {before}, {id_}"
        self._forget_what_is_undeclared()
        compared = Comparison(self.picture, seen, self.known, frozenset(self.recreated), blocked)
        wrong = compared.judge()
        assert not wrong, "\n".join([*wrong[:20], self.picture.text()])
        if not blocked:
            wanted = {
                "endpoint/bridge/",
                *(f"endpoint/{network}/{name}" for (name, network), _ in self.picture.endpoints()),
            }
            found = {key for key in records(self.machine) if key.startswith("endpoint/")}
            assert found == wanted - {"endpoint/bridge/"}, f"{found} != {wanted}"
            own = set(self.picture.attachments) | seen.foreign(())["spaces"].keys() - set(ATTACHMENTS) | {GUEST}
            assert set(seen.spaces) == own, f"namespaces: {sorted(seen.spaces)}, not {sorted(own)}"
        self._others_are_as_before(seen)
        for ns, links in self.by_hand.items():
            lost = (
                {
                    (name, index)
                    for name, index in links - seen.spaces[ns].put_by_hand()
                    if index in seen.spaces[ns].by_index
                }
                if ns in seen.spaces
                else ()
            )
            assert not lost, f"addresses of people were taken from {lost} in {ns}"
        assert self._ip_forward() == "1"

    def _forget_what_is_undeclared(self) -> None:
        declared = {key for key, _ in self.picture.endpoints()}
        self.known.forget([key for key in self.known.endpoints if key not in declared])
        for network in [name for name in self.known.bridges if name not in self.picture.networks]:
            del self.known.bridges[network]
        for network, version in list(self.known.subnets):
            wanted = self.picture.networks.get(network)
            if wanted is None or version not in wanted.versions:
                del self.known.subnets[network, version]

    def _ip_forward(self) -> str:
        with self.machine.inside(HOST_NS):
            return Path("/proc/sys/net/ipv4/ip_forward").read_text().strip()

    def _others_are_as_before(self, seen: Seen) -> None:
        same(self.foreign, seen.foreign(self._own_spaces(seen)), "what belongs to others")

    def _again(self, arguments: Sequence[str]) -> None:
        """The pass after a good one writes nothing."""
        log = self.machine.state_dir.parent / "writes"
        with log.open("w+b") as file:
            done = self._run(*arguments, hooks=[Hook("tests.pipeline.forked:watch_writes", (None,), file.fileno())])
        assert done.exit_code == 0, done.text
        assert log.read_text() == "", f"written by the pass after:\n{log.read_text()}\n{done.text}"

    def _send_packets(self, seed: int) -> None:
        asked, wrong = differing(self.machine, self.picture, self.known, seed)
        self.world.done["questions by packets"] += asked
        assert not wrong, "\n".join([*wrong[:20], self.picture.text()])

    def _then(self, then: Pass | None) -> None:
        self.is_changed = True
        if then is not None:
            self.make_a_pass(then)

    def _settle(self) -> None:
        if self.is_changed:
            self.make_a_pass(Pass((), None))

    def _change(self, picture: Picture, then: Pass | None) -> None:
        """What leaves the picture is forgotten: whether it comes back as it was, nobody promised."""
        self.known.forget([key for key in self.known.endpoints if key not in dict(picture.endpoints())])
        self.picture = picture
        self._then(then)

    # --- what is declared

    @rule(
        name=st.sampled_from(BRIDGES),
        number=st.sampled_from((0, 0, 1, 1, 2)),
        families=st.sampled_from(("4", "4", "46", "6")),
        kind=st.sampled_from(("open", "open", "internal", "isolated")),
        has_icc=st.sampled_from((True, True, False)),
        masquerades=st.sampled_from((True, True, False)),
        mtu=st.sampled_from((1500, 1400)),
        is_protected=st.sampled_from((False, False, True)),
        has_range=st.sampled_from((False, False, True)),
        then=THEN,
    )
    def declare_a_bridge(self, name: str, number: int, kind: str, then: Pass | None, **more: Any) -> None:
        with self._step("networks declared"):
            place = BRIDGES.index(name) + 1
            network = Network(
                name=name,
                number=(0, place, place + 10)[number] or (place if kind == "isolated" else 0),
                is_internal=kind != "open",
                is_isolated=kind == "isolated",
                **more,
            )
            self._forget_auto_subnet(network)
            self._change(self.picture.with_network(network), then)

    def _forget_auto_subnet(self, network: Network) -> None:
        """A network that chose its subnet and comes with another declaration may choose again."""
        if network.name not in self.picture.networks:
            self._forget_subnets(network.name)

    @rule(name=st.sampled_from(SUBLINKS), mode=st.sampled_from(("bridge", "private")), then=THEN)
    def declare_a_macvlan(self, name: str, mode: str, then: Pass | None) -> None:
        with self._step("networks declared"):
            network = Network(name=name, number=41 + SUBLINKS.index(name), mode=mode)
            self.recreated |= {(member, name) for member in self.picture.members(name)}
            self._change(self.picture.with_network(network), then)

    @rule(
        which=PLACES,
        field_=st.sampled_from(
            (
                "label",
                "has_icc",
                "masquerades",
                "mtu",
                "gateway",
                "families",
                "number",
                "kind",
                "bridge_name",
                "protect",
                "range",
            )
        ),
        value=PLACES,
        then=THEN,
    )
    def edit_a_network(self, which: int, field_: str, value: int, then: Pass | None) -> None:
        with self._step("networks edited"):
            names = sorted(self.picture.networks)
            network = self.picture.networks[names[which % len(names)]]
            is_open_to_it = network.name != DEFAULT or field_ in ("has_icc", "masquerades", "mtu")
            network = _edited(network, field_ if network.is_bridged and is_open_to_it else "label", value)
            self._change(self.picture.with_network(network), then)

    @rule(which=st.lists(PLACES, min_size=1, max_size=5), then=THEN)
    def remove_networks(self, which: list[int], then: Pass | None) -> None:
        with self._step("networks removed"):
            names = sorted(self.picture.networks.keys() - {DEFAULT})
            gone = {names[number % len(names)] for number in which if names}
            self._change(self.picture.without_networks(*gone), then)

    @rule(
        name=st.sampled_from(ATTACHMENTS),
        which=PLACES,
        place=st.sampled_from((0, 0, 2, 3, 4, 5, 20)),
        has_mac=st.sampled_from((False, False, True)),
        has_alias=st.booleans(),
        has_name=st.sampled_from((False, False, False, True)),
        gw_priority=st.sampled_from((0, 0, 1, 5)),
        then=THEN,
    )
    def attach(self, name: str, which: int, then: Pass | None, **more: Any) -> None:
        with self._step("attached or edited there"):
            self._change(self._attached(self.picture, name, which, **more), then)

    def _attached(
        self,
        picture: Picture,
        name: str,
        which: int,
        *,
        place: int = 0,
        has_mac: bool = False,
        has_alias: bool = False,
        has_name: bool = False,
        gw_priority: int = 0,
    ) -> Picture:
        names = [each for each in sorted(picture.networks) if name != GUEST or each not in SUBLINKS]
        network = names[which % len(names)]
        attachment = picture.attachments.get(name) or Attachment(name=name, networks={})
        others = picture.with_attachment(attachment.off(network)).places(network)
        number = names.index(network)
        is_default = network == DEFAULT
        endpoint = Endpoint(
            place=0 if is_default or place in others else place,
            mac=f"02:00:00:00:0{ATTACHMENTS.index(name)}:0{number}" if has_mac else "",
            aliases=(f"{name}-too",) if has_alias and not is_default else (),
            ifname=f"lan{sorted((DEFAULT, *BRIDGES, *SUBLINKS)).index(network)}" if has_name else "",
            gw_priority=gw_priority,
        )
        return picture.with_attachment(attachment.on(network, endpoint))

    @rule(which=PLACES, to=st.one_of(st.none(), PLACES), then=THEN)
    def detach_or_move(self, which: int, to: int | None, then: Pass | None) -> None:
        with self._step("detached" if to is None else "moved"):
            keys = sorted(key for key, _ in self.picture.endpoints())
            picture = self.picture
            if keys:
                name, network = keys[which % len(keys)]
                picture = picture.with_attachment(picture.attachments[name].off(network))
                if to is not None:
                    picture = self._attached(picture, name, to)
            self._change(picture, then)

    @rule(
        which=PLACES,
        ports=st.lists(
            st.tuples(st.sampled_from(("tcp", "tcp", "udp")), st.sampled_from(("", "", HOST[4], "127.0.0.1"))),
            max_size=2,
        ),
        links=st.lists(st.sampled_from(ATTACHMENTS), max_size=2, unique=True),
        then=THEN,
    )
    def publish_and_link(self, which: int, ports: list[tuple[str, str]], links: list[str], then: Pass | None) -> None:
        with self._step("ports and links edited"):
            names = sorted(self.picture.attachments)
            picture = self.picture
            if names:
                attachment = picture.attachments[names[which % len(names)]]
                first = 8000 + 10 * ATTACHMENTS.index(attachment.name)
                published = tuple(
                    Port(host_port=first + number, protocol=protocol, host_ip=host_ip)
                    for number, (protocol, host_ip) in enumerate(ports)
                )
                others = tuple(name for name in links if name != attachment.name)
                picture = picture.with_attachment(replace(attachment, ports=published, links=others))
            self._change(picture, then)

    # --- what others do

    @rule(what=st.lists(DRIFTS, min_size=1, max_size=3), then=THEN)
    def drift(self, what: list[tuple[str, int]], then: Pass | None) -> None:
        with self._step("drifts"):
            self.foreign = None
            for kind, which in what:
                done = hands.drift(self.machine, kind, which)
                note(f"by hand: {done}")
                self.world.done[f"drift: {kind}"] += done is not None
            self._then(then)

    @rule(what=st.lists(DRIFTS, min_size=1, max_size=3), then=PASSES)
    def drift_and_pass(self, what: list[tuple[str, int]], then: Pass) -> None:
        self.drift(what, then)

    @rule(number=st.integers(0, len(hands.STRANGERS) - 1), then=THEN)
    def a_stranger_comes(self, number: int, then: Pass | None) -> None:
        with self._step("objects of others beside ours"):
            if number not in self.strangers:
                self.foreign = None
                hands.add_stranger(self.machine, number)
                self.strangers.append(number)
            self._then(then)

    @rule(which=PLACES, kind=st.sampled_from(hands.OBSTACLES))
    def something_in_the_way(self, which: int, kind: str) -> None:
        """A link of others has a bridge's name: that network is not ready, all others are, and the link stays as it is."""
        with self._step("objects of others in the way"):
            self._settle()
            names = sorted(self.known.bridges)
            name = names[which % len(names)]
            bridge = self.known.bridges[name][0]
            self.machine.run("", "ip", "-n", HOST_NS, "link", "delete", bridge)
            hands.add_obstacle(self.machine, kind, bridge)
            self.foreign = None
            self._look()
            done = self._run()
            assert done.exit_code == 1, done.text
            self._judge(frozenset((name,)))
            self.machine.run("", "ip", "-n", HOST_NS, "link", "delete", bridge)
            self.foreign, self.is_changed = None, True
            self.make_a_pass(Pass((), None))

    @rule(which=st.integers(0, len(BAD)))
    def refused_specs(self, which: int) -> None:
        """With faults, or, the last ones, from another folder than that from which the host is run: what runs goes on."""
        self._settle()
        self._look()
        if which < len(BAD):
            with self._step("specs with faults"):
                self._refused(65, BAD[which])
        elif len(self.picture.networks) > 1 or self.picture.attachments:
            with self._step("specs of another folder"):
                self._from_another_folder()

    def _refused(self, code: int, bad: str) -> None:
        self._write()
        path = self.reconcile.specs / "all.yaml"
        if bad:
            (self.reconcile.specs / "bad.yaml").write_text(bad)
        else:
            path.write_text(path.read_text()[: len(path.read_text()) // 2])
        done = self._run()
        assert done.exit_code == code, done.text
        self._judge()
        self._write()

    def _from_another_folder(self) -> None:
        other = self.machine.state_dir.parent / "other"
        other.mkdir(exist_ok=True)
        (other / "all.yaml").write_text("networks: {other: {}}\n")
        done = self._run("--specs", str(other))
        assert done.exit_code == 3, done.text
        self._judge()

    # --- what is lost

    @rule(how=st.sampled_from(("folder", "database", "database damaged", "all but the database")), then=THEN)
    def lose_the_state(self, how: str, then: Pass | None) -> None:
        with self._step(f"lost: state, {how}"):
            database = self.machine.state_dir / "state.db"
            if how == "folder":
                shutil.rmtree(self.machine.state_dir, ignore_errors=True)
            elif how == "database":
                database.unlink(missing_ok=True)
            elif how == "database damaged":
                self.machine.state_dir.mkdir(parents=True, exist_ok=True)
                database.write_bytes(b"no database" * 500)
            else:
                for path in self.machine.state_dir.glob("*"):
                    if path.is_dir():
                        shutil.rmtree(path)
                    elif path != database:
                        path.unlink()
            if how != "all but the database":
                self.is_lost = self.was_lost = True
            self._then(then)

    @rule(has_server=st.booleans(), then=THEN)
    def lose_the_run_folder(self, has_server: bool, then: Pass | None) -> None:
        with self._step("lost: run folder"):
            if not has_server:
                self._end_name_server()
            shutil.rmtree(self.machine.run_dir, ignore_errors=True)
            self._then(then)

    @rule(then=THEN)
    def restart(self, then: Pass | None) -> None:
        """As after a reboot: the state folder is all that is left."""
        with self._step("restarts"):
            self._end_name_server()
            self.machine.clean()
            self._boot()
            self.foreign = None
            self.recreated |= self.known.endpoints.keys() | {("", name) for name in self.known.bridges}
            self._then(then)

    # --- the end

    @rule(kills=st.lists(WRITES, max_size=2))
    def take_all_down(self, kills: list[int]) -> None:
        with self._step("ways down"):
            self._down(kills)

    @precondition(lambda self: self.is_changed)
    @rule(how=PASSES)
    def just_a_pass(self, how: Pass) -> None:
        with self._step("passes alone"):
            self.make_a_pass(how)

    def _down(self, kills: Sequence[int]) -> None:
        self._write()
        self._look()
        for number in kills:
            self._attempt(number, "down", "--allow-prune")
        done = self._run("down", "--allow-prune")
        assert done.exit_code == 0, done.text
        self._is_gone()
        self.applied, self.known = Picture(networks={}), Known(ids=self.known.ids, rules=self.known.rules)
        self.recreated, self.is_changed = set(), True
        self.is_killed = self.is_lost = False

    def _is_gone(self) -> None:
        """Nothing of ours is left, and the host is as before."""
        seen = look(self.machine)
        assert self._own_spaces(seen) == set()
        ours = {ns: found.ours() for ns, found in seen.spaces.items() if found.ours()}
        assert not ours, f"left behind: {ours}"
        assert not seen.sets, f"left behind: {sorted(seen.sets)}"
        assert not seen.rules, "rules are left behind"
        assert not [path for path in seen.files if Path(path).parent.name in ATTACHMENTS], sorted(seen.files)
        left = sorted(self.machine.run_dir.rglob("*")) if self.machine.run_dir.exists() else []
        assert [path for path in left if path.is_file()] == [], left
        self._others_are_as_before(seen)
        if self.machine.state_dir.exists():
            assert records(self.machine) == {}
            assert [
                path for path in self.machine.state_dir.rglob("*") if path.name.endswith((".tmp", "-journal"))
            ] == []
        if not self.was_lost:
            same(self.sysctls, sysctls(self.machine, HOST_NS), "settings of the host")
            self.was_lost = False

    def teardown(self) -> None:
        if self.is_well:
            self.make_a_pass(Pass((), 0))
            self._down([])


def _edited(network: Network, field_: str, value: int) -> Network:
    place = BRIDGES.index(network.name) + 1 if network.name in BRIDGES else 0
    edits: dict[str, Callable[[], Network]] = {
        "label": lambda: replace(network, label=str(value)),
        "has_icc": lambda: replace(network, has_icc=not network.has_icc),
        "masquerades": lambda: replace(network, masquerades=not network.masquerades),
        "mtu": lambda: replace(network, mtu=(1280, 1400, 1500)[value % 3]),
        "gateway": lambda: replace(network, gateway=(1, 254)[value % 2] if network.number else 1),
        "families": lambda: replace(network, families=("4", "46", "6")[value % 3]),
        "number": lambda: replace(network, number=(place, place + 10)[value % 2]),
        "kind": lambda: replace(
            network, is_internal=value % 3 > 0, is_isolated=value % 3 == 2, number=network.number or place
        ),
        "bridge_name": lambda: replace(network, bridge_name=f"br-{network.name}" if value % 2 else ""),
        "protect": lambda: replace(network, is_protected=value % 2 > 0),
        "range": lambda: replace(network, has_range=not network.has_range),
    }
    return edits[field_]()


def same(before: object, after: object, where: str) -> None:
    found = [f"{place or 'all'}: {a!r:.300}, now {b!r:.300}" for place, a, b in islice(differences(before, after), 20)]
    assert not found, "\n".join([where, *found])
