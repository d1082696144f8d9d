"""What the kernel says: dumps and events of netlink, listings of nftables and iptables."""

from __future__ import annotations

import errno
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from struct import Struct
from types import SimpleNamespace
from typing import Any, Final
from unittest import mock

from reconciler.doctor.iptables_rules import iptables_chains
from reconciler.doctor.nft_rules import nft_rules
from reconciler.errors import ReconcilerError
from reconciler.firewall.inspection import inspect_table
from reconciler.firewall.ruleset import TABLE, TABLES
from reconciler.importing.carried import carried
from reconciler.importing.kernel import SeenKernel, SeenSandbox, read_kernel
from reconciler.importing.kernel_look import _translations
from reconciler.importing.write import stream_text
from reconciler.incremental import Table
from reconciler.kernel import conntrack, firewall_events, nft, route_events, sockets
from reconciler.kernel.links import decode_link, decode_nsid, dump_links
from reconciler.kernel.netlink import SOL_NETLINK, RouteSocket
from reconciler.kernel.nft import Nft
from reconciler.kernel.rtnetlink import NLM_F_ACK, NetlinkRequest, attribute, messages, nested, packed, refusal
from reconciler.kinds.address import decode_address
from reconciler.kinds.ipv6 import ipv6_of
from reconciler.kinds.neighbours import decode_neighbour, put_fdb, put_neighbour
from reconciler.kinds.route import decode_route, is_to_ourselves
from reconciler.kinds.sysctl import sysctl_values
from reconciler.kinds.view import NamespaceView
from reconciler.model.identifiers import NsRef
from reconciler.observe.adoption import bridges_of_others
from reconciler.observe.host_facts import advertised_indexes, uplink_index, used_destinations
from reconciler.observe.host_objects import HostObjects
from reconciler.observe.sandboxes import _objects
from reconciler.spec.files import SpecText
from reconciler.spec.load import load_texts
from tests.fuzz.target import Form, Target, listed, try_each
from tests.unit.firewall.test_ruleset import listing

_RECORDED: Final = Path(__file__).parent.parent.parent / "unit" / "kernel" / "recorded"
_HEADER: Final = Struct("=IHHII")
_DONE: Final = _HEADER.pack(20, 3, 2, 1, 0) + bytes(4)


def _dump(name: str, length_max: int = 3000) -> bytes:
    """Return the first messages of a recorded dump, numbered as the answer to the first request."""
    found = b""
    for message in messages((_RECORDED / f"{name}.bin").read_bytes()):
        payload = message.buffer[message.start : message.end]
        one = _HEADER.pack(16 + len(payload), message.kind, message.flags, 1, 0) + payload + bytes(-len(payload) & 3)
        if len(found) + len(one) <= length_max:
            found += one
    return found


def _dump_seeds() -> Iterator[bytes]:
    for name in ("links", "addresses", "routes"):
        yield _dump(name) + _DONE
    for number in range(4):
        yield _link(number)
    yield packed(NetlinkRequest(28, 0, put_neighbour(7, _address("10.0.0.5"), "02:42:0a:00:00:05").body), 1) + _DONE
    yield packed(NetlinkRequest(28, 0, put_fdb(7, "02:42:0a:00:00:05", _address("192.0.2.2")).body), 1) + _DONE
    yield _HEADER.pack(36, 2, 0x100, 1, 0) + (-errno.EBUSY % (1 << 32)).to_bytes(4, "little") + bytes(16)


def _address(text: str) -> Any:
    from ipaddress import ip_address

    return ip_address(text)


def _link(number: int) -> bytes:
    """Make a link of a kind of which more is read than of others."""
    kind, data = (
        (b"vlan", attribute(1, b"\x64\0")),
        (b"macvlan", attribute(1, b"\x04\0\0\0")),
        (b"ipvlan", attribute(1, b"\x01\0") + attribute(2, b"\x01\0")),
        (b"vxlan", attribute(1, b"\x01\x10\0\0") + attribute(4, b"\xc0\0\x02\x01") + attribute(15, b"\x12\xb5")),
    )[number]
    info = nested(18, attribute(1, kind), nested(2, data))
    body = bytes(4) + (7).to_bytes(4, "little") + (1).to_bytes(4, "little") + bytes(4)
    body += (
        attribute(3, b"eth9\0") + attribute(5, (1).to_bytes(4, "little")) + attribute(1, b"\x02\x42\0\0\0\x09") + info
    )
    return packed(NetlinkRequest(16, 0, body), 1) + _DONE


class _Datagrams:
    """Stands for a netlink socket on which these datagrams wait."""

    def __init__(self, *datagrams: bytes) -> None:
        self._datagrams = list(datagrams)

    def send(self, _: bytes) -> None:
        pass

    def close(self) -> None:
        pass

    def recv(self, size: int) -> bytes:
        if not self._datagrams:
            raise TimeoutError
        return self._datagrams.pop(0)[:size]

    def recvmsg(self, size: int, _: int) -> tuple[bytes, list[tuple[int, int, bytes]], int, str]:
        if not self._datagrams:
            raise BlockingIOError
        data = self._datagrams.pop(0)
        ancillary = [(SOL_NETLINK, 0, data[-4:])] if len(data) > 4 and data[-1] & 1 else []
        return data[:size], ancillary, 0, ""


def _route_socket(*datagrams: bytes) -> RouteSocket:
    found = RouteSocket.__new__(RouteSocket)
    waiting: Any = _Datagrams(*datagrams)
    found._socket, found._sequence, found.writes, found._protocol = waiting, 0, 0, socket.NETLINK_ROUTE
    return found


_DECODERS: Final[Mapping[str, Callable[[bytes, int, int], object]]] = {
    "links": decode_link,
    "addresses": decode_address,
    "routes": decode_route,
    "neighbours": decode_neighbour,
    "nsids": decode_nsid,
    "route to ourselves": is_to_ourselves,
    "flows": conntrack.decode_flow,
    "sockets": lambda *span: sockets._decode("tcp", *span),
}


def _run_dump(data: bytes) -> None:
    """Take what comes for the answer to any question, and for that to any request of a batch."""
    calls: list[Callable[[], object]] = [
        lambda: [refusal(message) for message in messages(data)],
        lambda: _route_socket(data).batch([NetlinkRequest(16, NLM_F_ACK, b"abcd")]),
        lambda: _elements(data),
    ]
    for decode in _DECODERS.values():
        calls.append(partial(_route_socket(data, data, data).dump, dump_links(), decode))
        calls.append(partial(decode, data, 0, len(data)))
    _look(data)
    try_each(*calls)


def _elements(data: bytes) -> object:
    """Take it for what nftables says of its generation, and of elements that are asked for."""
    with mock.patch.object(nft, "RouteSocket", side_effect=lambda _: _route_socket(data)):
        Nft().generation()
        Nft().get_elements("reconciler", [("inet", "bridges", b"a")])
    return [nft._listed(message) for message in messages(data)]


def _look(data: bytes) -> None:
    """Look at what can be read as at a host and a sandbox: objects, facts, and what `import kernel` prints of it loads."""
    found: dict[str, list[Any]] = {"links": [], "addresses": [], "routes": []}
    kinds = {16: "links", 20: "addresses", 24: "routes"}
    try:
        for message in messages(data):
            if message.kind in kinds:
                decode = _DECODERS[kinds[message.kind]]
                if (one := decode(message.buffer, message.start, message.end)) is not None:
                    found[kinds[message.kind]].append(one)
        view = NamespaceView(
            links=tuple(found["links"]), addresses=tuple(found["addresses"]), routes=tuple(found["routes"])
        )
        for link in view.links:
            sysctl_values(link), ipv6_of(link)
        HostObjects()(view, Table())
        [*_objects(NsRef("netns:a"), view, is_ours=True)]
        for entry in view.addresses:
            entry.interface()
        [*used_destinations(view.routes, {7: "eth0"})], uplink_index(view.routes), advertised_indexes(view.routes)
        with mock.patch("reconciler.observe.adoption.manager_of", return_value=""):
            bridges_of_others(view, {link.ifname for link in view.links})
        sandbox = SeenSandbox(name="a", view=view, nsid=0, host_nsid=0)
        imported = carried(read_kernel(SeenKernel(host=view, sandboxes=(sandbox,))), "here")
    except ReconcilerError:
        return
    loaded = load_texts([SpecText("specs.yaml", stream_text(imported, "x"))], host="here", digest="")
    assert loaded.faults == (), loaded.faults[0]


# --- events


def _event_seeds() -> Iterator[bytes]:
    yield _link(0)[:-20]
    yield packed(NetlinkRequest(28, 0, put_neighbour(7, _address("10.0.0.5"), "02:42:0a:00:00:05").body), 1)
    yield packed(NetlinkRequest(89, 0, bytes(4) + attribute(1, b"\x05\0\0\0")), 1)
    for kind in (0, 6, 12):
        yield packed(NetlinkRequest(10 << 8 | kind, 0, b"\1\0\0\0" + attribute(1, b"reconciler\0")), 1)


def _run_events(data: bytes) -> None:
    """Take a datagram for an event of routes and of the firewall: what cannot be read may concern anything."""
    routes = route_events.RouteEvents.__new__(route_events.RouteEvents)
    waiting: Any = _Datagrams(data, data[: len(data) // 2])
    routes._socket = waiting
    for event in routes.read():
        assert event is None or event.link is None or isinstance(event.link, int)
    rules = firewall_events.FirewallEvents.__new__(firewall_events.FirewallEvents)
    rules._nsids = frozenset({int.from_bytes(data[-4:], "little", signed=True)})
    waiting = _Datagrams(data, data[: len(data) // 2])
    rules._socket = waiting
    with mock.patch.object(firewall_events, "_own_addresses", return_value=frozenset({7})):
        assert isinstance(rules.concern("reconciler"), bool)


# --- listings


def _nft_seeds() -> Iterator[bytes]:
    for spec in TABLES.values():
        found = [
            {kind: {"family": spec.family, "table": TABLE, **one} for kind, one in item.items()}
            for item in listing(spec)
        ]
        yield json.dumps({"nftables": found[:12]}).encode()
        elements = [one for one in found if "map" in one or "set" in one][:6]
        yield json.dumps({"nftables": [*found[:2], *elements]}).encode()
    match = {
        "op": "==",
        "left": {"payload": {"protocol": "tcp", "field": "dport"}},
        "right": {"set": [80, {"range": [90, 99]}]},
    }
    names = {"family": "ip", "table": "nat", "chain": "a"}
    rule = {**names, "expr": [{"match": match}, {"dnat": {"addr": "10.0.0.5", "port": 80}}, {"accept": None}]}
    vmap = {
        "vmap": {
            "key": {"meta": {"key": "iifname"}},
            "data": {"set": [["eth0", {"drop": None}], ["lo", {"jump": {"target": "x"}}]]},
        }
    }
    chain = {"chain": {"family": "ip", "table": "nat", "name": "a", "type": "nat", "hook": "prerouting"}}
    xt = {"xt": {"type": "target", "name": "REJECT"}}
    yield json.dumps(
        {
            "nftables": [
                {"metainfo": {"version": "1.0.6"}},
                chain,
                {"rule": rule},
                {"rule": {**names, "expr": [vmap, xt]}},
            ]
        }
    ).encode()
    yield json.dumps({"nftables": [{"table": {"name": TABLE, "family": "inet"}}]}).encode()


def _run_nft(data: bytes) -> None:
    """Take a listing for that of our tables, of all chains, and of somebody's chain."""
    asked = Nft()
    backend: Any = SimpleNamespace(
        list=lambda *_: nft._Reply(True, data, b""), run=lambda _: nft._Reply(False, b"", data)
    )
    asked._backend = backend
    try_each(
        asked.version,
        asked.list_chains,
        lambda: asked.run("x"),
        lambda: [_inspected(spec.family, asked) for spec in TABLES.values()],
        lambda: nft_rules(asked.list_chain("ip", "nat", "a")),
        lambda: [*_translations(asked)],
    )


def _inspected(family: str, asked: Nft) -> object:
    found = asked.list_table(family, TABLE)
    return found and inspect_table(TABLES[family], found, {})


def _iptables_seeds() -> Iterator[bytes]:
    yield b"-P INPUT DROP\n-N X\n-A INPUT -i eth0 -p tcp -m multiport --dports 80,443 -j ACCEPT\n"
    yield b'-A INPUT ! -s 10.0.0.0/8 -m comment --comment "a b" -g X\n'
    yield b"-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A X -o br+ -j REJECT --reject-with x\n"


def _run_iptables(data: bytes) -> None:
    policies, rules = iptables_chains(data.decode(errors="replace"))
    assert all(isinstance(policy, str) for policy in policies.values())
    assert all(isinstance(rule.verdict, str) for chain in rules.values() for rule in chain)


_NFT_WORDS: Final = (
    *listed(
        "nftables metainfo table chain rule set map elem expr comment name type flags family match left right op "
        "payload meta ct key protocol field vmap data prefix range jump target verdict xt dnat addr port concat "
        "val hook prio policy timeout bridges reconciler"
    ),
)

_IPTABLES_WORDS: Final = (
    *("-P ", "-A ", "-j ", "-g ", "-m ", "!", "-s ", "-d ", "-i ", "-o ", "-p ", "--dport ", "--ctstate "),
    *("ACCEPT", "DROP", '"', "'", "\\"),
)

TARGETS: Final = (
    Target(
        "netlink dumps",
        "dumps and answers of rtnetlink, connection tracking, sock_diag and nftables",
        _run_dump,
        _dump_seeds,
        runs=150,
    ),
    Target("netlink events", "events of rtnetlink and nftables", _run_events, _event_seeds),
    Target(
        "nft listings",
        "nft's JSON listings and messages",
        _run_nft,
        _nft_seeds,
        Form.JSON,
        _NFT_WORDS,
        length_max=16384,
    ),
    Target("iptables", "what `iptables -S` prints", _run_iptables, _iptables_seeds, Form.TEXT, _IPTABLES_WORDS),
)
