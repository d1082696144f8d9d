"""Random specs for the tests of `reach`: bridge networks with all options, and who is on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from hypothesis import strategies as st

HOST: Final = {4: "192.0.2.1", 6: "2001:db8::1"}

PORTS: Final = (80, 81)
"""What members serve."""

_BRIDGE: Final = "com.docker.network.bridge."
_MODES: Final = ("nat", "nat", "routed", "nat-unprotected")


@st.composite
def networks(draw: st.DrawFn, number: int) -> dict[str, Any]:
    families = draw(st.sampled_from(("4", "46", "46", "6")))
    is_internal = draw(st.integers(0, 4)) == 0
    options: dict[str, str] = {}
    for family in families:
        mode = draw(st.sampled_from((*_MODES, "isolated") if is_internal else _MODES))
        options[f"{_BRIDGE}gateway_mode_ipv{family}"] = mode
    options[f"{_BRIDGE}enable_icc"] = draw(st.sampled_from(("true", "true", "false")))
    options[f"{_BRIDGE}enable_ip_masquerade"] = draw(st.sampled_from(("true", "true", "true", "false")))
    options["com.network-reconciler.source_validation"] = draw(st.sampled_from(("true", "true", "true", "false")))
    if draw(st.integers(0, 3)) == 0:
        options[f"{_BRIDGE}trusted_host_interfaces"] = "uplink0"
    if draw(st.integers(0, 5)) == 0:
        options["com.docker.network.host_ipv4"] = HOST[4]
    if draw(st.integers(0, 7)) == 0 and "4" in families:
        options[f"{_BRIDGE}inhibit_ipv4"] = "true"
    if draw(st.integers(0, 7)) == 0:
        options[f"{_BRIDGE}host_binding_ipv4"] = draw(st.sampled_from((HOST[4], "127.0.0.1")))
    subnets = {"4": f"172.30.{number}.0/24", "6": f"fd30:{number}::/64"}
    return {
        "enable_ipv4": "4" in families,
        "enable_ipv6": "6" in families,
        "internal": is_internal,
        "driver_opts": options,
        "ipam": {"config": [{"subnet": subnets[family]} for family in families]},
    }


@st.composite
def attachments(draw: st.DrawFn, number: int, names: Sequence[str]) -> dict[str, Any]:
    joined = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))
    published = []
    for place in range(draw(st.integers(0, 2))):
        ip = draw(st.sampled_from(("", "", "", "0.0.0.0:", "[::]:", "127.0.0.1:", f"{HOST[4]}:", f"[{HOST[6]}]:")))
        protocol = draw(st.sampled_from(("tcp", "udp")))
        published.append(f"{ip}{8000 + 10 * number + place}:{draw(st.sampled_from(PORTS))}/{protocol}")
    links = []
    if "bridge" in joined:
        joined = ["bridge"]
        links = [f"{target}:x{target}" for target in ("db",) if draw(st.booleans())]
    wanted = {name: {"gw_priority": draw(st.integers(0, 1))} for name in joined}
    return {"networks": wanted, "ports": published, "links": links}


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    declared = {f"n{number}": draw(networks(number)) for number in range(1, draw(st.integers(4, 7)))}
    icc = {f"{_BRIDGE}enable_icc": draw(st.sampled_from(("true", "false")))}
    declared["bridge"] = {"driver_opts": icc}
    members: dict[str, Any] = {
        f"a{number}": draw(attachments(number, tuple(declared))) for number in range(draw(st.integers(9, 12)))
    }
    members["db"] = {"networks": {"bridge": {}}, "ports": ["8900:81"], "expose": ["80"]}
    return {"networks": declared, "attachments": members}


_PREFIXES: Final = {"ov1": "10.91.0", "ov2": "10.92.0", "mv": "10.93.0", "iv": "10.94.0", "pl": "10.95.0"}


@st.composite
def across_hosts(draw: st.DrawFn, without: Sequence[str] = ()) -> dict[str, Any]:
    """Networks that alpha and beta share or both declare, and who is on them. without: names of networks to leave out.

    Two overlay networks, macvlan on eth0, ipvlan on eth1 or nowhere, a plugin's, a bridge.
    """
    internal = st.sampled_from((False, False, True))
    networks_ = {
        "mv": sublink(
            "macvlan", "eth0", "10.93.0", {"macvlan_mode": draw(st.sampled_from(("bridge", "private", "vepa")))}
        ),
        "ov1": {"driver": "overlay", "internal": draw(internal), "ipam": {"config": [{"subnet": "10.91.0.0/24"}]}},
        "ov2": {"driver": "overlay", "ipam": {"config": [{"subnet": "10.92.0.0/24"}]}},
        "iv": sublink(
            "ipvlan",
            draw(st.sampled_from(("eth1", ""))),
            "10.94.0",
            {
                "ipvlan_mode": draw(st.sampled_from(("l2", "l3", "l3s"))),
                "ipvlan_flag": draw(st.sampled_from(("bridge", "private", "vepa"))),
            },
        ),
        "n1": {"ipam": {"config": [{"subnet": "172.30.1.0/24"}]}},
        "pl": {"driver": "weave", "ipam": {"config": [{"subnet": "10.95.0.0/24"}]}},
    }
    networks_ = {name: network for name, network in networks_.items() if name not in without}
    names = st.lists(st.sampled_from(tuple(networks_)), min_size=1, max_size=3, unique=True)
    members = {
        f"x{number}": {
            "hosts": ["alpha" if number % 2 else "beta"],
            "networks": {
                name: {"ipv4_address": f"{_PREFIXES[name]}.{10 + number}"} if name in _PREFIXES else {}
                for name in draw(names)
            },
            "ports": [f"{9000 + number}:80"] if draw(st.booleans()) else [],
        }
        for number in range(8)
    }
    return {"networks": networks_, "attachments": members}


@st.composite
def on_two_hosts(draw: st.DrawFn) -> dict[str, Any]:
    """Random specs of all kinds, for two hosts."""
    declared, across = draw(specs()), draw(across_hosts())
    return {section: across[section] | declared[section] for section in ("networks", "attachments")}


def sublink(driver: str, parent: str, prefix: str, options: dict[str, str]) -> dict[str, Any]:
    """A network on a link of the host's; without one it leads nowhere."""
    return {
        "driver": driver,
        "driver_opts": options | ({"parent": parent} if parent else {}),
        "ipam": {"config": [{"subnet": f"{prefix}.0/24", "gateway": f"{prefix}.1"}]},
    }
