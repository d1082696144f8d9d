"""What people and other programs do to a host by hand: to what is ours, beside it, and in its way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from tests.machine import Machine
from tests.model.kernel import BY_HAND, HOST_NS, Namespace, look
from tests.model.picture import ATTACHMENTS, GUEST, PARENT
from tests.waiting import until

OBSTACLES: Final = ("bridge", "veth", "macvlan")


Spaces = Mapping[str, Namespace]
Command = tuple[str, ...]


def _links(spaces: Spaces, *kinds: str) -> Iterator[tuple[str, str]]:
    """Yield namespace and name of links of ours, on the host and in sandboxes."""
    for ns in sorted(spaces):
        if ns in (HOST_NS, *ATTACHMENTS):
            for name in spaces[ns].ours():
                kind = spaces[ns].links[name].get("linkinfo", {}).get("info_kind", "")
                if name != "lo" and (not kinds or kind in kinds):
                    yield ns, name


def _each_link(*words: str, kinds: tuple[str, ...] = ()) -> Callable[[Spaces], Iterator[Command]]:
    """Give the commands for each link, with LINK for its name."""

    def commands(spaces: Spaces) -> Iterator[Command]:
        for ns, name in _links(spaces, *kinds):
            yield ("ip", "-n", ns, *(name if word == "LINK" else word for word in words))

    return commands


def _sandboxes(spaces: Spaces) -> list[str]:
    return sorted(spaces.keys() & set(ATTACHMENTS))


def _other_master(spaces: Spaces) -> Iterator[Command]:
    bridges = [name for ns, name in _links(spaces, "bridge") if ns == HOST_NS]
    for ns, name in _links(spaces, "veth"):
        if ns == HOST_NS:
            for bridge in bridges:
                yield ("ip", "-n", ns, "link", "set", name, "master", bridge)


def _no_master(spaces: Spaces) -> Iterator[Command]:
    for ns, name in _links(spaces, "veth"):
        if ns == HOST_NS:
            yield ("ip", "-n", ns, "link", "set", name, "nomaster")


def _default_routes(*words: str) -> Callable[[Spaces], Iterator[Command]]:
    def commands(spaces: Spaces) -> Iterator[Command]:
        for ns in _sandboxes(spaces):
            for route in spaces[ns].routes:
                if route["dst"] == "default" and "gateway" in route and route.get("table", "main") == "main":
                    family = "-6" if ":" in route["gateway"] else "-4"
                    filled = (route["dev"] if word == "LINK" else word for word in words)
                    yield ("ip", family, "-n", ns, "route", *filled)

    return commands


def _renamed(spaces: Spaces) -> Iterator[Command]:
    for ns, name in _links(spaces):
        if ns != HOST_NS:
            yield ("ip", "-n", ns, "link", "set", name, "down", "name", "other0")


def _spaces_gone(spaces: Spaces) -> Iterator[Command]:
    for ns in _sandboxes(spaces):
        if ns != GUEST:
            yield ("ip", "netns", "delete", ns)


def _nft(*lines: str) -> Callable[[Spaces], Iterator[Command]]:
    def commands(_: Spaces) -> Iterator[Command]:
        for line in lines:
            yield ("ip", "netns", "exec", HOST_NS, "nft", line)

    return commands


def _files(spaces: Spaces) -> Iterator[Command]:
    for ns in _sandboxes(spaces):
        for name in ("hosts", "resolv.conf"):
            yield ("rm", "-f", f"/etc/netns/{ns}/{name}")
            yield ("sh", "-c", f"test ! -e /etc/netns/{ns}/{name} || echo other > /etc/netns/{ns}/{name}")


def _sysctls(spaces: Spaces) -> Iterator[Command]:
    yield ("ip", "netns", "exec", HOST_NS, "sysctl", "-qw", "net.ipv4.ip_forward=0")
    for ns, name in _links(spaces):
        if ns != HOST_NS:
            yield ("ip", "netns", "exec", ns, "sysctl", "-qw", f"net.ipv6.conf.{name}.disable_ipv6=1")


DRIFTS: Final[Mapping[str, Callable[[Spaces], Iterator[Command]]]] = {
    "link deleted": _each_link("link", "delete", "LINK"),
    "link down": _each_link("link", "set", "LINK", "down"),
    "addresses flushed": _each_link("address", "flush", "dev", "LINK"),
    "MTU": _each_link("link", "set", "LINK", "mtu", "1300"),
    "address added": _each_link("address", "add", BY_HAND, "dev", "LINK"),
    "MAC": _each_link("link", "set", "LINK", "address", "02:00:00:00:99:99"),
    "master taken away": _no_master,
    "other master": _other_master,
    "default route deleted": _default_routes("delete", "default", "dev", "LINK"),
    "default route replaced": _default_routes("replace", "default", "dev", "LINK"),
    "link renamed": _renamed,
    "namespace deleted": _spaces_gone,
    "firewall flushed": _nft("flush ruleset", "delete table inet reconciler", "delete table bridge reconciler"),
    "set or chain flushed": _nft(
        "flush set inet reconciler bridges",
        "flush map inet reconciler icc",
        "flush set inet reconciler internal",
        "flush set bridge reconciler macs",
        "flush set bridge reconciler sources4",
        "flush chain inet reconciler forward",
        "flush chain bridge reconciler sources",
        "flush set inet reconciler masquerade4",
    ),
    "rule or element added": _nft(
        "insert rule inet reconciler forward accept",
        "insert rule bridge reconciler sources accept",
        f"add element inet reconciler internal {{ {PARENT} }}",
        "add element inet reconciler masquerade4 { 192.0.2.0/24 }",
        "add element inet reconciler published_any4 { tcp . 9999 : 192.0.2.2 . 9 }",
    ),
    "file lost or replaced": _files,
    "setting": _sysctls,
}


def drift(machine: Machine, kind: str, which: int) -> str | None:
    """Do something of that kind; give the command, None where there is nothing to do it to, or it was refused."""
    spaces = look(machine).spaces
    commands = list(DRIFTS[kind](spaces))
    if not commands:
        return None
    command = commands[which % len(commands)]
    ends = set(_host_ends(spaces, command[-1])) if command[:3] == ("ip", "netns", "delete") else set()
    done = machine.run("", *command, check=False)
    until(lambda: not ends & set(machine.links(HOST_NS)), 60, every_s=0.01)  # namespaces go in the background
    return " ".join(command) if done.returncode == 0 else None


def _host_ends(spaces: Spaces, ns: str) -> Iterator[str]:
    """Yield the names on the host of the other ends of a sandbox's pairs."""
    for name in spaces[ns].ours():
        other = spaces[HOST_NS].by_index.get(spaces[ns].links[name].get("link_index", 0), "")
        if spaces[HOST_NS].is_ours(other):
            yield other


def _neighbour(machine: Machine) -> None:
    machine.add_namespace("stranger")
    machine.detect_no_duplicates("stranger")
    machine.add_veth(HOST_NS, "port0", "stranger", "eth0")
    machine.ip_batch("stranger", "address add 10.200.0.2/24 dev eth0", "route add default via 10.200.0.1")
    folder = machine.etc_netns_dir / "stranger"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "resolv.conf").write_text("nameserver 10.200.0.1\n")


def _bridge(machine: Machine) -> None:
    machine.ip_batch(
        HOST_NS,
        "link add br-lan type bridge",
        "link add port1 master br-lan type veth peer port2",
        "address add 10.201.0.1/24 dev br-lan",
        "link set br-lan alias mine group 77",
        "link set br-lan up",
    )
    machine.raise_veth(HOST_NS, "port1", HOST_NS, "port2")


def _tables(machine: Machine) -> None:
    machine.run(
        HOST_NS,
        "nft",
        "-f",
        "-",
        stdin="""
        table inet theirs {
            set known { type ipv4_addr; elements = { 10.1.0.1, 10.2.0.1 }; }
            chain forward {
                type filter hook forward priority 10; policy accept;
                ip saddr @known accept
            }
            chain input {
                type filter hook input priority 0; policy accept;
                iifname "br-lan" accept
            }
        }
        table ip nat {
            chain POSTROUTING {
                type nat hook postrouting priority 100;
                oifname "nowhere" masquerade
            }
        }
        """,
    )


def _routes(machine: Machine) -> None:
    machine.ip_batch(
        HOST_NS,
        "route add 10.202.0.0/16 via 192.0.2.2",
        "route add blackhole 10.204.0.0/16",
        "route add 10.205.0.0/16 via 192.0.2.2 table 77",
        "address add 10.206.0.1/32 dev lo",
    )


STRANGERS: Final[tuple[Callable[[Machine], None], ...]] = (_neighbour, _bridge, _tables, _routes)


def add_stranger(machine: Machine, number: int) -> None:
    """Make objects of others; each once."""
    STRANGERS[number](machine)


def add_obstacle(machine: Machine, kind: str, name: str) -> None:
    """Put a link of others where ours is to be."""
    kinds = {
        "bridge": f"link add {name} type bridge",
        "veth": f"link add {name} type veth peer peer0",
        "macvlan": f"link add {name} link {PARENT} type macvlan mode bridge",
    }
    machine.ip_batch(HOST_NS, kinds[kind], f"link set {name} up", f"address add 10.207.0.1/24 dev {name}")
