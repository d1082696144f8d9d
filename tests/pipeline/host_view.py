"""What a host looks like, in comparable form, and what a pass may leave behind."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from reconciler.kv.sqlite import open_sqlite
from tests.machine import Machine
from tests.waiting import Deadline

T = TypeVar("T")


def everything(machine: Machine, ns: str) -> dict[str, Any]:
    """Give all that a pass could change on the machine and in the namespace that plays the host, but for statistics."""
    return {
        "namespaces": machine.namespaces(),
        **namespace(machine, ns),
        "etc": _files(machine.etc_netns_dir),
        "run": sorted(_files(machine.run_dir / "sandboxes")),
    }


def settled(look: Callable[[], T], deadline_s: float = 5.0) -> T:
    """Give what `look` gives twice in a row: ports learn and addresses get ready for a moment after a pass."""
    deadline, last = Deadline(deadline_s), look()
    while not deadline.is_over:
        time.sleep(0.1)
        last, before = look(), last
        if last == before:
            break
    return last


def seen_soon(look: Callable[[], T], wanted: T, deadline_s: float = 5.0) -> T:
    """Look until it is as wanted: links take a moment to report that they run. Give what was seen last."""
    deadline = Deadline(deadline_s)
    while (seen := look()) != wanted and not deadline.is_over:
        time.sleep(0.05)
    return seen


def namespace(machine: Machine, ns: str) -> dict[str, Any]:
    """Give links, addresses, routes, firewall and forwarding of one namespace."""
    addresses, routes, neighbours = machine.ip_jsons(
        ns, "address show", "route show table all", "neighbour show nud permanent"
    )
    (routes6,) = machine.ip_jsons(ns, "route show table all", options=("-6",))
    return {
        "links": [plain_link(link) for link in addresses],
        "routes": routes,
        "routes6": routes6,
        "neighbours": neighbours,
        "firewall": machine.run(ns, "nft", "-a", "list", "ruleset").stdout,
        "sysctls": sysctls(machine, ns),
    }


def plain_link(link: Any) -> Any:
    """Leave out what goes on by itself: counters and timers."""
    if isinstance(link, list):
        return [plain_link(each) for each in link]
    if not isinstance(link, dict):
        return link
    return {
        name: _up_at_last(value) if name == "operstate" else plain_link(value)
        for name, value in link.items()
        if not name.startswith("stats") and not name.endswith("_timer")
    }


def sysctls(machine: Machine, ns: str) -> dict[str, str]:
    with machine.inside(ns):
        folders = [Path("/proc/sys/net", f, "conf", whose) for f in ("ipv4", "ipv6") for whose in ("all", "default")]
        paths = [Path("/proc/sys/net/ipv4/ip_forward"), *(p for folder in folders for p in folder.iterdir())]
        return {str(path): path.read_text() for path in paths if path.is_file() and path.name != "stable_secret"}


def _files(folder: Path) -> dict[str, str]:
    """Give files and links. Folders do not count: one that SIGKILL left empty is not to be told from another's."""
    return {
        str(path): f"-> {path.readlink()}" if path.is_symlink() else path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def stamps(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """Give content, time and inode of every file below a folder."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def shape(machine: Machine, ns: str, *sandboxes: str) -> dict[str, Any]:
    """Give what two hosts that were brought to the same specs have in common: all but indexes, handles and random things."""
    return {
        "namespaces": machine.namespaces(),
        "firewall": _in_order(machine.run(ns, "nft", "list", "ruleset").stdout),
        "etc": _files(machine.etc_netns_dir),
        "run": _files(machine.run_dir / "sandboxes"),
        **{each or "own": _shape_of(machine, each) for each in (ns, *sandboxes)},
    }


def _in_order(ruleset: str) -> str:
    """Sort the elements of each set: how they are listed is the kernel's business."""

    def sort(found: re.Match[str]) -> str:
        return "elements = {" + ",".join(sorted(" ".join(each.split()) for each in found[1].split(","))) + "}"

    return re.sub(r"elements = \{([^}]*)\}", sort, ruleset)


def _shape_of(machine: Machine, ns: str) -> dict[str, Any]:
    links, routes = machine.ip_jsons(ns, "address show", "route show")
    (routes6,) = machine.ip_jsons(ns, "route show", options=("-6",))
    return {
        "links": sorted(
            (
                link["ifname"],
                link.get("master", ""),
                link.get("mtu", 0),
                _operstate(link),
                "" if link.get("master") else link.get("address", ""),
                tuple(sorted(f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"] if a["scope"] == "global")),
            )
            for link in links
        ),
        "routes": sorted(f"{r['dst']} {r.get('gateway')} {r['dev']}" for r in routes),
        "routes6": sorted(f"{r['dst']} {r.get('gateway')} {r['dev']}" for r in routes6),
        "ip_forward": _ip_forward(machine, ns),
    }


def _operstate(link: Mapping[str, Any]) -> str:
    """Of a bridge "": the kernel makes it follow its ports, but at most once a second (net/core/link_watch.c)."""
    return "" if link.get("linkinfo", {}).get("info_kind") == "bridge" else _up_at_last(str(link["operstate"]))


def _up_at_last(operstate: str) -> str:
    """A link with a carrier is UNKNOWN until the kernel comes to say that it is UP, up to a second later."""
    return "UP" if operstate == "UNKNOWN" else operstate


def _ip_forward(machine: Machine, ns: str) -> str:
    with machine.inside(ns):
        return Path("/proc/sys/net/ipv4/ip_forward").read_text()


def records(machine: Machine) -> dict[str, Any]:
    """Give the promises in the embedded store, without the times that they were made at."""
    store = open_sqlite(machine.state_dir / "state.db", read_only=True)
    try:
        entries = store.list("")
    finally:
        store.close()
    found = {entry.key: json.loads(entry.value) for entry in entries}
    for record in found.values():
        record.pop("created", None)
    return found


def shape_and_records(machine: Machine, sandboxes: Sequence[str], ns: str = "H") -> dict[str, Any]:
    """Give the shape of a host and of those of the sandboxes that are there, and its records."""
    present = [name for name in sandboxes if name in machine.namespaces()]
    return {"shape": shape(machine, ns, *present), "records": records(machine)}


def leftovers(machine: Machine) -> list[str]:
    """Name temporary files of any kind."""
    folders = (machine.state_dir, machine.run_dir, machine.etc_netns_dir)
    return [str(path) for folder in folders for path in folder.rglob("*") if path.name.endswith((".tmp", "-journal"))]


def indexes(machine: Machine, ns: str) -> dict[str, int]:
    return {link["ifname"]: link["ifindex"] for link in machine.ip_json(ns, "link", "show")}


def inspected(document: str) -> Any:
    """Give the first of the documents that `inspect` printed."""
    return json.loads(document)[0]
