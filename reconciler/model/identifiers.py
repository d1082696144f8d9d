"""Names and ids, all derived: whoever loses the state file computes the same ones again."""

from __future__ import annotations

import hashlib
import re
from ipaddress import IPv6Address
from typing import Final, NewType

from reconciler.model.drivers import traits_of

NsRef = NewType("NsRef", str)
"""Which network namespace an object lives in: `HOST`, or the sandbox's reference as `sandbox_ref` builds it."""

HOST: Final = NsRef("")
"""The namespace that plays the host (`--host-netns`, default the one we were started in)."""

UNKNOWN_NS: Final = NsRef("?")
"""Of the far end of a pair: none that was looked into."""

LINK_GROUP: Final = 0x7265636F
"""IFLA_GROUP of every link we create, and of `lo` in namespaces we create ("reco"): our ownership mark (rtnetlink(7))."""

PLUGIN_ALIAS: Final = "reconciler-plugin:"
"""How the alias of a plugin's link in a sandbox begins; then the endpoint's short id, a colon, and the name it had on the host."""

PROTOCOL: Final = 178
"""rtm_protocol / IFA_PROTO of routes and addresses we create; unassigned in iproute2's rt_protos."""

EMBEDDED_SERVER: Final = "127.0.0.11"
"""Where names are served, in each sandbox that they are served in."""

NAME_PATTERN: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*\Z")
"""What networks and attachments may be called: the engine's container-name rule. Never leaves a folder, never an option."""

NAME_MAX: Final = 128
LINK_NAME_MAX: Final = 15
"""IFNAMSIZ less the terminating zero (linux/if.h)."""

BUILTIN_NETWORKS: Final = ("bridge", "host", "none")


OVERLAY_PREFIX: Final = "ov-"
"""How the names of the namespaces begin that overlay networks have on a host."""

VXLAN_PORT: Final = 4789
"""UDP port of VXLAN (RFC 7348, section 5)."""

VNI_MAX: Final = (1 << 24) - 1
"""A VNI has 24 bits (RFC 7348, section 5)."""

FORWARDING: Final = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}
"""What makes a namespace route between its links, by address family."""

GATEWAY_NETWORK: Final = "docker_gwbridge"
"""The local bridge network by which attachments on overlay networks reach everything else (the engine's name)."""


def is_name(text: str) -> bool:
    """True for what networks, attachments, hosts and plugins may be called."""
    return len(text) <= NAME_MAX and NAME_PATTERN.match(text) is not None


def is_link_name(name: str) -> bool:
    """True for what the kernel takes as a link name (dev_valid_name in net/core/dev.c) and a shell reads without quotes."""
    return (
        0 < len(name) <= LINK_NAME_MAX
        and name not in (".", "..")
        and re.fullmatch(r"[a-zA-Z0-9_.-]+", name) is not None
    )


def derived_id(*parts: str) -> str:
    """Return 64 hex digits that depend on `parts` alone.

    Like the engine, never one whose first twelve are all decimal digits: the short form would read as a number.
    """
    salt = 0
    while True:
        digest = hashlib.sha256("\0".join((*parts, str(salt))).encode()).hexdigest()
        if not digest[:12].isdecimal():
            return digest
        salt += 1


def network_id(host: str, name: str) -> str:
    """Id of a local-scope network, as `docker network inspect` shows under `Id`."""
    return derived_id("network", host, name)


def global_network_id(name: str) -> str:
    """Id of a network of the whole cluster: every host that declares it gives it the same."""
    return derived_id("global network", name)


def short_id(id_: str) -> str:
    """Return what people are shown of an id, and what goes into names."""
    return id_[:12]


def attachment_id(host: str, name: str) -> str:
    """What stands where docker has the container id."""
    return derived_id("attachment", host, name)


def endpoint_id(host: str, network: str, attachment: str) -> str:
    return derived_id("endpoint", host, network, attachment)


def bridge_link_name(network_id_: str) -> str:
    """The engine's default: `br-` and the short id."""
    return f"br-{network_id_[:12]}"


def own_parent_name(driver: str, network_id_: str) -> str:
    """What stands below a macvlan or ipvlan network that names no parent, under the engine's name for it."""
    return f"{traits_of(driver).dead_end_prefix}{network_id_[:12]}"


def vlan_of(name: str) -> tuple[str, int] | None:
    """Read a name such as eth0.10 as the engine does: VLAN 10 (IEEE 802.1Q) on eth0. None for another name."""
    base, _, number = name.rpartition(".")
    is_vlan = base != "" and re.fullmatch(r"[1-9][0-9]{0,3}", number) is not None and int(number) <= _VLAN_MAX
    return (base, int(number)) if is_vlan else None


_VLAN_MAX: Final = 4094
"""The last VLAN ID; 4095 is reserved."""


def is_own_parent_name(name: str) -> bool:
    return re.fullmatch(r"d[im]-[0-9a-f]{12}", name) is not None


def veth_link_name(endpoint_id_: str) -> str:
    """Host side of an endpoint's veth pair; the prefix lets networkd and NetworkManager be told to leave it alone."""
    return f"rcv{endpoint_id_[:12]}"


def overlay_ns(network_id_: str, instance: str) -> NsRef:
    """Namespace of an overlay network's bridges on one host; several hosts on one machine share the folder of names."""
    return NsRef(f"netns:{OVERLAY_PREFIX}{network_id_[:12]}-{instance[:8]}")


def bridge_mac(network_id_: str) -> str:
    """A fixed address, so that the bridge does not take that of its lowest port as ports come and go."""
    return "02:42:" + ":".join(network_id_[i : i + 2] for i in range(0, 8, 2))


def overlay_bridge_mac(host: str, network_id_: str, segment: int) -> str:
    """Every host's bridge has the gateway address; a MAC of its own, as what it routes travels to the others' bridges."""
    return bridge_mac(derived_id("overlay bridge", host, network_id_, str(segment)))


def link_local(mac: str) -> IPv6Address:
    """Return the address that a link makes itself of its MAC address (RFC 4291, appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    interface = bytes((octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]))
    return IPv6Address(bytes((0xFE, 0x80, 0, 0, 0, 0, 0, 0)) + interface)


def cluster_instance_id(instance: str, machine: str) -> str:
    """Tells hosts of a cluster apart that go by one name. machine: what /etc/machine-id says (machine-id(5)), or ""."""
    return derived_id("cluster instance", instance, machine)[:16]


def instance_id(state_dir: str, host: str) -> str:
    """Tells reconcilers on one machine apart that share /run/netns (several hosts played by namespaces)."""
    return derived_id("instance", state_dir, host)[:16]
