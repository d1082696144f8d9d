"""What others do in the kernel is told, with the place; what never matters wakes nobody."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Set
from ipaddress import IPv6Interface
from pathlib import Path

import pytest

from reconciler.firewall.ruleset import TABLE
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.nft import Nft
from reconciler.kernel.route_events import new_nsid
from reconciler.kinds.address import new_address
from reconciler.model.identifiers import HOST, OVERLAY_PREFIX, PROTOCOL, NsRef
from reconciler.watch.kernel_events import KernelEvents
from reconciler.watch.source import CLEAN, Dirty, Watched
from tests.machine import Machine
from tests.waiting import eventually, is_readable

pytestmark = pytest.mark.kernel

WEB, DB = NsRef("netns:web"), NsRef("netns:db")
QUIET_S = 0.1
SETTLE_S = 0.3
SMALL_BUFFER_BYTES = 16 << 10


class Watching(KernelEvents):
    """Follows what was looked into just now. armed: what that told of at once."""

    armed = CLEAN

    def watch_now(self, refs: Set[NsRef]) -> None:
        self.watch({ref: 0 if ref == HOST else self._namespaces.present_inode(ref) for ref in refs})

    def watch(self, refs: Mapping[NsRef, int]) -> None:
        self.armed |= self.arm(Watched(namespaces=refs))


def told(events: Watching, quiet_s: float = QUIET_S) -> Dirty:
    """Give all that is told until nothing more comes for a moment."""
    dirty, events.armed = events.armed, CLEAN
    while is_readable(events, quiet_s):
        dirty |= events.drain()
    return dirty


def dirty_in(*namespaces: NsRef) -> Dirty:
    return Dirty(namespaces=frozenset(namespaces))


@pytest.fixture
def namespaces(machine: Machine, host_ns: str) -> Iterator[Namespaces]:
    """The test's thread is in the host's namespace meanwhile."""
    with machine.inside(host_ns), Namespaces(machine.netns_dir, "test") as made:
        yield made


@pytest.fixture
def events(machine: Machine, host_ns: str, namespaces: Namespaces) -> Iterator[Watching]:
    """Watches the host, `web` (eth0 with address and route, joined to the host) and `db` (only loopback)."""
    for name in ("web", "db"):
        machine.add_namespace(name)
    machine.add_veth(host_ns, "vweb", "web", "eth0")
    machine.run("web", "ip", "address", "add", "10.0.0.2/24", "dev", "eth0")
    machine.run("web", "ip", "route", "add", "10.9.0.0/16", "via", "10.0.0.1")
    made = Watching(namespaces)
    made.watch_now({HOST, WEB, DB})
    told(made, SETTLE_S)
    yield made
    made.close()


INSIDE = {
    "link added": ("ip", "link", "add", "br0", "type", "bridge"),
    "link down": ("ip", "link", "set", "lo", "down"),
    "mtu": ("ip", "link", "set", "lo", "mtu", "1400"),
    "alias": ("ip", "link", "set", "lo", "alias", "x"),
    "address removed": ("ip", "address", "del", "10.0.0.2/24", "dev", "eth0"),
    "IPv6 address added": ("ip", "address", "add", "2001:db8::1/64", "dev", "eth0", "nodad"),
    "route removed": ("ip", "route", "del", "10.9.0.0/16"),
    "route added": ("ip", "-6", "route", "add", "blackhole", "2001:db8:1::/48"),
    "route replaced": ("ip", "route", "replace", "10.9.0.0/16", "via", "10.0.0.3"),
    "default route added": ("ip", "route", "add", "default", "via", "10.0.0.1"),
}


@pytest.mark.parametrize("command", INSIDE.values(), ids=INSIDE)
def test_change_in_a_sandbox_is_told_of_that_sandbox(
    machine: Machine, events: Watching, command: tuple[str, ...]
) -> None:
    machine.run("web", *command)

    assert told(events) == dirty_in(WEB)


def test_change_in_the_host_is_told(machine: Machine, host_ns: str, events: Watching) -> None:
    machine.run(host_ns, "ip", "link", "add", "br0", "type", "bridge")

    assert told(events) == dirty_in(HOST)


def test_change_in_a_sandbox_without_links_to_the_host_is_told(machine: Machine, events: Watching) -> None:
    machine.run("db", "ip", "link", "set", "lo", "down")

    assert told(events) == dirty_in(DB)


def test_deleted_pair_is_told_of_both_ends(machine: Machine, host_ns: str, events: Watching) -> None:
    machine.run(host_ns, "ip", "link", "del", "vweb")

    assert told(events) == dirty_in(HOST, WEB)


def test_neighbour_of_a_sandbox_is_nobodys_business(machine: Machine, events: Watching) -> None:
    machine.run("web", *f"ip neigh add 10.0.0.9 lladdr 02:42:00:00:00:09 dev eth0 protocol {PROTOCOL}".split())

    assert told(events) == CLEAN


def test_link_local_address_of_ours_is_told(namespaces: Namespaces, events: Watching) -> None:
    reply = namespaces.socket(DB).request(new_address(1, IPv6Interface("fe80::1/64")))
    assert not reply.errno

    assert told(events) == dirty_in(DB)


@pytest.mark.parametrize(
    "command",
    [
        "ip route add 10.8.0.0/16 via 10.0.0.1 table 100",
        "ip neigh add 10.0.0.9 lladdr 02:42:00:00:00:09 dev eth0 nud reachable",
        "ip address add fe80::9/64 dev eth0 nodad",
        "ip -statistics link show",
        "ping -c 1 -W 1 10.0.0.7",
    ],
    ids=[
        "route of another table",
        "neighbour that was learned",
        "link-local address",
        "statistics",
        "resolution",
    ],
)
def test_what_never_matters_wakes_nobody(machine: Machine, events: Watching, command: str) -> None:
    machine.run("web", *command.split(), check=False)

    assert not is_readable(events, QUIET_S)


def test_nothing_done_wakes_nobody(events: Watching) -> None:
    assert not is_readable(events, 1.0)


def test_change_in_a_namespace_that_is_not_watched_is_not_told(machine: Machine, events: Watching) -> None:
    events.watch_now({HOST, DB})

    machine.run("web", "ip", "link", "set", "lo", "down")

    assert told(events) == CLEAN


def test_host_is_not_told_of_unless_watched(machine: Machine, host_ns: str, events: Watching) -> None:
    events.watch_now({WEB})

    machine.run(host_ns, "ip", "link", "add", "br0", "type", "bridge")

    assert told(events) == CLEAN


def test_two_references_to_one_namespace_are_both_told(machine: Machine, events: Watching) -> None:
    path = NsRef(f"path:{machine.path('web')}")
    events.watch_now({HOST, WEB, path})
    told(events)

    machine.run("web", "ip", "link", "set", "lo", "down")
    assert told(events) == dirty_in(WEB, path)

    events.watch_now({HOST, path})
    machine.run("web", "ip", "link", "set", "lo", "up")
    assert told(events) == dirty_in(path)


def test_sandbox_that_is_the_host_is_told_of_like_the_host(machine: Machine, host_ns: str, events: Watching) -> None:
    same = NsRef(f"netns:{host_ns}")
    events.watch_now({HOST, same})
    told(events)

    machine.run(host_ns, "ip", "link", "add", "br0", "type", "bridge")

    assert told(events) == dirty_in(HOST, same)


def test_host_that_numbers_itself_is_still_told_of(
    machine: Machine, host_ns: str, namespaces: Namespaces, events: Watching
) -> None:
    namespaces.socket(HOST).request(new_nsid(namespaces.fd(HOST)))
    assert told(events) == dirty_in(HOST)
    events.watch_now({HOST, WEB, DB})

    machine.run(host_ns, "ip", "link", "add", "br0", "type", "bridge")

    assert told(events) == dirty_in(HOST)


def test_named_namespace_that_appears_is_told(machine: Machine, events: Watching) -> None:
    machine.run("", "ip", "netns", "add", "new")

    assert NsRef("netns:new") in told(events).namespaces


def test_deleted_namespace_is_told_and_really_goes(machine: Machine, events: Watching) -> None:
    machine.delete_namespace("web")

    assert WEB in told(events, SETTLE_S).namespaces
    # The far end goes with its namespace, which nobody holds.
    assert eventually(lambda: "vweb" not in machine.links("H"))


def test_namespace_replaced_under_its_name_is_watched_again(machine: Machine, events: Watching) -> None:
    machine.delete_namespace("db")
    machine.add_namespace("db")
    assert DB in told(events, SETTLE_S).namespaces
    events.watch_now({HOST, WEB, DB})
    told(events)

    machine.run("db", "ip", "link", "set", "lo", "down")

    assert told(events) == dirty_in(DB)


def test_namespace_that_ends_with_its_process_is_told(machine: Machine, events: Watching) -> None:
    with subprocess.Popen(["unshare", "-n", "sleep", "60"]) as process:
        own = os.stat("/proc/self/ns/net").st_ino
        link = Path(f"/proc/{process.pid}/ns/net")
        assert eventually(lambda: link.stat().st_ino != own)
        sandbox = NsRef(f"pid:{process.pid}")
        events.watch_now({HOST, sandbox})
        assert told(events).namespaces >= {sandbox}
        process.kill()

    assert sandbox in told(events, SETTLE_S).namespaces


def test_newly_watched_namespace_that_nobody_listened_to_is_told_once(machine: Machine, events: Watching) -> None:
    machine.run("", "ip", "netns", "add", "new")
    told(events)
    new = NsRef("netns:new")

    events.watch_now({HOST, new})
    assert new in told(events).namespaces

    events.watch_now({HOST, new})
    assert told(events) == CLEAN


@pytest.mark.parametrize(
    "command", ["ip netns set new auto", "ip -n H link add vnew type veth peer name eth0 netns new"]
)
def test_namespace_that_was_numbered_after_the_look_and_before_the_watch_is_told(
    machine: Machine, namespaces: Namespaces, events: Watching, command: str
) -> None:
    new = NsRef("netns:new")
    machine.run("", "ip", "netns", "add", "new")
    told(events)
    seen = {HOST: 0, new: namespaces.present_inode(new)}
    machine.run("new", "ip", "link", "set", "lo", "up")  # told to nobody: it has no number yet
    machine.run("H", *command.split())

    events.watch(seen)

    assert new in told(events).namespaces


def test_reference_that_leads_elsewhere_since_the_look_is_told(namespaces: Namespaces, events: Watching) -> None:
    told(events)

    events.watch({HOST: 0, WEB: namespaces.present_inode(DB), DB: namespaces.present_inode(DB)})

    assert told(events) == dirty_in(WEB)


def test_sandbox_that_is_gone_when_it_is_to_be_watched_is_told(events: Watching) -> None:
    gone = NsRef("netns:gone")

    events.watch_now({HOST, gone})

    assert gone in told(events).namespaces


def test_lost_events_make_everything_dirty_and_watching_goes_on(machine: Machine, namespaces: Namespaces) -> None:
    for name in ("web", "db"):
        machine.add_namespace(name)
    events = Watching(namespaces, buffer_bytes=SMALL_BUFFER_BYTES)
    events.watch_now({HOST, WEB, DB})
    told(events)

    with machine.inside("web"):
        subprocess.run(
            ["ip", "-batch", "-"],
            input="link set lo mtu 1400\nlink set lo mtu 1500\n" * 50,
            text=True,
            check=True,
        )
    assert told(events) == dirty_in(HOST, WEB, DB)

    events.watch_now({HOST, WEB, DB})
    machine.run("db", "ip", "link", "set", "lo", "down")
    assert told(events) == dirty_in(DB)
    events.close()


OURS = f"table inet {TABLE} {{ set s {{ type inet_service; }}; chain c {{ counter; }}; }}"
THEIRS = "table inet theirs { set s { type inet_service; }; chain c { counter; }; }"


@pytest.mark.parametrize(
    "script",
    [
        "flush ruleset",
        f"delete table inet {TABLE}",
        f"flush table inet {TABLE}",
        f"add rule inet {TABLE} c accept",
        f"add element inet {TABLE} s {{ 80 }}",
        "add chain inet theirs f { type filter hook forward priority 0; policy drop; }",
    ],
)
def test_firewall_changed_by_others_is_told(machine: Machine, host_ns: str, events: Watching, script: str) -> None:
    machine.run(host_ns, "nft", "-f", "-", stdin=f"{OURS}\n{THEIRS}")
    told(events)

    machine.run(host_ns, "nft", "-f", "-", stdin=script)

    assert told(events) == Dirty(is_firewall=True)


def test_what_others_put_into_their_tables_is_not_told(machine: Machine, host_ns: str, events: Watching) -> None:
    machine.run(host_ns, "nft", "-f", "-", stdin=THEIRS)
    told(events)

    machine.run(host_ns, "nft", "-f", "-", stdin="add element inet theirs s { 80 }\nadd rule inet theirs c accept")

    assert told(events) == CLEAN


def test_firewall_of_a_sandbox_is_not_told(machine: Machine, events: Watching) -> None:
    machine.run("web", "nft", "-f", "-", stdin=OURS)

    assert told(events) == CLEAN


def test_own_firewall_transactions_are_not_told(events: Watching) -> None:
    with Nft() as nft:
        nft.run(OURS)
        nft.run(f"add element inet {TABLE} s {{ 80 }}")

        assert told(events) == CLEAN


def test_firewall_in_an_overlay_networks_namespace_is_told_like_the_hosts(machine: Machine, events: Watching) -> None:
    overlay = NsRef(f"netns:{OVERLAY_PREFIX}one")
    machine.add_namespace(overlay.removeprefix("netns:"))
    told(events)
    events.watch_now({HOST, WEB, DB, overlay})
    assert told(events).is_firewall, "what happened there until now was told to nobody"

    with machine.inside(overlay.removeprefix("netns:")), Nft() as nft:
        nft.run(OURS)
    machine.run("web", "nft", "-f", "-", stdin=OURS)
    assert told(events) == CLEAN, "neither our own doing nor a sandbox's"

    machine.run(overlay.removeprefix("netns:"), "nft", "flush", "table", "inet", TABLE)
    assert told(events) == Dirty(is_firewall=True)

    # While the namespace is there: the kernel takes one down in the background, and tells of that when it is done.
    events.watch_now({HOST, WEB, DB})
    machine.run("web", "nft", "flush", "ruleset")
    assert not is_readable(events, QUIET_S), "where there is no overlay network, no sandbox's firewall wakes anybody"

    events.watch_now({HOST, WEB, DB, overlay})
    assert told(events).is_firewall
    machine.delete_namespace(overlay.removeprefix("netns:"))
    assert told(events) == dirty_in(overlay)


def test_others_firewall_transactions_are_told_among_own(machine: Machine, host_ns: str, events: Watching) -> None:
    with Nft() as nft:
        nft.run(OURS)
        machine.run(host_ns, "nft", "-f", "-", stdin=f"flush table inet {TABLE}")
        nft.run(f"add element inet {TABLE} s {{ 80 }}")

        assert told(events).is_firewall


def test_lost_firewall_events_are_told(machine: Machine, host_ns: str, namespaces: Namespaces) -> None:
    events = Watching(namespaces, buffer_bytes=SMALL_BUFFER_BYTES)
    elements = "\n".join(f"add rule inet theirs c tcp dport {port} accept" for port in range(1, 500))

    machine.run(host_ns, "nft", "-f", "-", stdin=f"{THEIRS}\n{elements}")
    events.drain()
    machine.run(host_ns, "nft", "-f", "-", stdin=elements)

    assert told(events).is_firewall
    events.close()


def test_many_namespaces_cost_no_descriptors_and_no_wakeups(machine: Machine, namespaces: Namespaces) -> None:
    names = [f"many{number}" for number in range(100)]
    machine.run("", "ip", "-batch", "-", stdin="".join(f"netns add {name}\n" for name in names))
    events = Watching(namespaces)
    events.watch_now({HOST})
    before = len(os.listdir("/proc/self/fd"))

    events.watch_now({HOST, *(NsRef(f"netns:{name}") for name in names)})

    assert len(os.listdir("/proc/self/fd")) == before
    told(events)
    events.watch_now({HOST, *(NsRef(f"netns:{name}") for name in names)})
    assert not is_readable(events, SETTLE_S)
    machine.run("many99", "ip", "link", "set", "lo", "up")
    assert told(events) == dirty_in(NsRef("netns:many99"))
    events.close()


def test_nothing_stays_open(machine: Machine, namespaces: Namespaces) -> None:
    machine.add_namespace("web")
    namespaces.socket(HOST)
    before = sorted(os.listdir("/proc/self/fd"))

    events = Watching(namespaces)
    events.watch_now({HOST, WEB})
    events.close()

    assert sorted(os.listdir("/proc/self/fd")) == before
