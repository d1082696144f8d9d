"""The Compose projects of tests/unit/importing/compose on one host, as the specs that they become: names, ports, isolation."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import dns.message
import dns.query
import dns.rdatatype
import pytest

from tests.container_engines.packet_matrix import SILENT, Cell
from tests.container_engines.packets import Party, answers
from tests.kernel.test_names import host_resolv_conf
from tests.machine import Machine
from tests.pipeline.forked import ForkedReconcile
from tests.waiting import patient

pytestmark = pytest.mark.kernel

PROJECTS: Final = Path(__file__).parent.parent / "unit" / "importing" / "compose"
TAKES_A_PLUGIN: Final = "21-plugins"
QUIET_S: Final = 0.5

Networks = Mapping[str, Mapping[str, str]]
"""Addresses by network, by attachment."""

PUBLISHED: Final = {
    "tcp 8001": ("blog", 80),
    "tcp 8002": ("proxy", 80),
    "tcp 8404": ("shop", 80),
    "tcp 8005": ("vars", 80),
    "tcp 8105": ("vars", 81),
    "tcp 8006": ("common", 80),
    "tcp 8106": ("api", 81),
    "tcp 8009": ("lb", 80),
    "tcp 8109": ("node-1", 8080),
    "tcp 8110": ("node-2", 8080),
    "tcp 8111": ("many", 80),
    "tcp 8112": ("node-3", 8080),
    "tcp 8209": ("node-1", 9001),
    "tcp 8211": ("many", 90),
    "tcp 8212": ("many", 91),
    "tcp 8213": ("many", 92),
    "udp 8511": ("many", 500),
    "tcp 8114": ("bridged", 80),
    "tcp 8017": ("jsweb", 80),
    "tcp 8018": ("legacy.web", 80),
    "tcp 8019": ("tenant-a", 80),
    "tcp 8119": ("tenant-b", 80),
}
"""Port of the host -> attachment, and its own port."""

ON_LOOPBACK: Final = {"tcp 8402": ("proxy", 443), "tcp 8311": ("many", 443), "tcp 8611": ("many", 600)}

UNPUBLISHED: Final = ("tcp 8104", "tcp 8204", "udp 8304", "tcp 8007", "tcp 8107", "tcp 8014", "tcp 8219", *ON_LOOPBACK)
"""Taken back by a later file, of internal networks alone, of a sandbox without networks, or for the host itself."""

REACHES: Final = (
    *(("app", "proxy"), ("app", "store"), ("app", "outside"), ("shop", "shopdb"), ("shop", "outside")),
    *(("shopcache", "shopdb"), ("one", "three"), ("batch", "api"), ("consumer", "broker"), ("shell", "always")),
    *(("lb", "node-3"), ("caller", "old_callee"), ("bridged", "macbridged"), ("jsweb", "jsdb"), ("onlan", "spun")),
    *(("legacy.web", "Legacy_Database"), ("auditor", "vault"), ("tenant-a", "outside"), ("hidden", "trailing-")),
    *(("floating", "fixed"), ("joiner", "outside"), ("behind-traefik", "outside"), ("vpn", "spelt")),
)
REACHES_NOT: Final = (
    *(("proxy", "store"), ("store", "outside"), ("shopdb", "outside"), ("blog", "app"), ("broker", "outside")),
    *(("metrics", "outside"), ("tenant-a", "tenant-b"), ("tenant-b", "auditor"), ("vault", "outside")),
    *(("tenant-a", "vault"), ("alone", "outside"), ("vars", "jsdb"), ("outside", "store"), ("outside", "blogdb")),
    ("spun", "outside"),
)

NAMES: Final[Mapping[tuple[str, str], frozenset[str]]] = {
    (asker, name): frozenset(found.split())
    for asker, name, found in (
        ("blog", "blogdb", "blogdb"),
        ("blog", "01-blog-blogdb-1", "blogdb"),
        ("blog", "app", ""),
        ("app", "db.internal", "store"),
        ("proxy", "database", ""),
        ("three", "peers", "one two three"),
        ("three", "anchors-two-1", "two"),
        ("shopdb", "cart", "shop"),
        ("shopdb", "shopold", ""),
        ("api", "worker", "batch"),
        ("api", "jobs", "batch"),
        ("consumer", "mq", "broker"),
        ("metrics", "mq", ""),
        ("lb", "pool", "node-1 node-2 node-3"),
        ("node-1", "node", "node-1 node-2 node-3"),
        ("lb", "scale-node-2", "node-2"),
        ("caller", "friend", "old_callee"),
        ("caller", "old", "old_callee"),
        ("old_callee", "friend", ""),
        ("spelt", "vpn", "vpn"),
        ("jsdb", "www", "jsweb"),
        ("Legacy_Database", "www.legacy.example", "legacy.web"),
        ("legacy.web", "legacy_db", "Legacy_Database"),
        ("tenant-a", "tenant-b", "tenant-b"),
        ("tenant-a", "vault", ""),
        ("auditor", "isolation-vault-1", "vault"),
        ("ns-1", "ns", "names-ns-1 ns-2"),
        ("ns-1", "_hidden", "hidden"),
    )
}


@pytest.mark.apart
def test_projects_keep_what_they_promise(forked: ForkedReconcile, machine: Machine, host_ns: str, uplink: str) -> None:
    machine.add_veth(host_ns, "lan0", uplink, "lan1")
    for project in PROJECTS.iterdir():
        if project.name != TAKES_A_PLUGIN:
            shutil.copy(project / "expected.yaml", forked.specs / f"{project.name}.yaml")
    with host_resolv_conf("nameserver 127.0.0.99\n"):  # where nobody listens
        forked.ok()
        networks = {path.stem: joined(path) for path in (machine.status_dir / "attachments").iterdir()}

        assert {question: looked_up(machine, networks, *question) for question in NAMES} == NAMES
        assert_packets(machine, networks)

    assert "192.0.2.20\tmany" in (machine.etc_netns_dir / "settings" / "hosts").read_text()
    assert "search a.test b.test" in (machine.etc_netns_dir / "plain-settings" / "resolv.conf").read_text()
    with machine.inside("plain-settings"):
        assert Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split() == ["21000", "22000"]
    assert [link["address"] for link in machine.ip_json("macbridged", "link", "show", "eth0")] == ["02:42:ac:11:00:77"]


def joined(status: Path) -> dict[str, str]:
    """Return the IPv4 addresses of an attachment by network."""
    networks = json.loads(status.read_text())[0]["NetworkSettings"]["Networks"]
    return {name: one["IPAddress"] for name, one in networks.items() if one["IPAddress"]}


def looked_up(machine: Machine, networks: Networks, asker: str, name: str) -> frozenset[str]:
    """Return the attachments that a name stands for."""
    with machine.inside(asker):
        answer = dns.query.udp(dns.message.make_query(name, "A"), "127.0.0.11", timeout=patient(5))
    addresses = {record.to_text() for each in answer.answer for record in each if record.rdtype == dns.rdatatype.A}
    return frozenset(each for each, one in networks.items() if not addresses.isdisjoint(one.values()))


def assert_packets(machine: Machine, networks: Networks) -> None:
    """Ask for all that shall be answered, and all that shall not, at once."""
    served = {name: {80} for name in (*networks, "outside")}
    for name, port in (*PUBLISHED.values(), *ON_LOOPBACK.values()):
        served[name].add(port)
    namespaces = {**{name: name for name in served if machine.path(name).exists()}, "host": "H"}
    parties = [
        Party(name=name, namespace=machine.path(ns), serves=sorted(served.get(name, ())))
        for name, ns in namespaces.items()
    ]
    addresses = {f"{name}@{network}": address for name, one in networks.items() for network, address in one.items()}
    addresses |= {"host": "192.0.2.1", "outside": "192.0.2.2", "lo": "127.0.0.1"}
    heard = {Cell("outside", "host", kind): name for kind, (name, _) in PUBLISHED.items()}
    heard |= {Cell("host", "lo", kind): name for kind, (name, _) in ON_LOOPBACK.items()}
    heard |= {cell: server for client, server in REACHES for cell in cells(networks, client, server, is_shared=True)}
    silent = {Cell("outside", "host", kind) for kind in UNPUBLISHED}
    silent |= {cell for client, server in REACHES_NOT for cell in cells(networks, client, server, is_shared=False)}

    def is_enough(found: Mapping[Cell, str], passed_s: float) -> bool:
        return passed_s > (QUIET_S if all(found[cell] != SILENT for cell in heard) else patient(10))

    found = answers(parties, addresses, [*heard, *silent], is_enough)
    assert {cell: found[cell].partition("<")[0] for cell in heard} == heard
    assert {cell: found[cell] for cell in silent if "<" in found[cell]} == {}


def cells(networks: Networks, client: str, server: str, *, is_shared: bool) -> Iterator[Cell]:
    """Yield how one asks another: at the addresses on networks that both are on, or at all of them."""
    mine, theirs = networks.get(client, {}), networks.get(server)
    for network in theirs if theirs is not None else (None,):
        if network is None or not is_shared or network in mine:
            target = server if network is None else f"{server}@{network}"
            yield from (Cell(client, target, kind) for kind in ("icmp", "tcp 80"))
