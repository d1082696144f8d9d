"""Names and ids, all derived: whoever loses the state file computes the same ones again."""

from __future__ import annotations

import hashlib
import re
from typing import Final, NewType

NsRef = NewType("NsRef", str)
"""Which network namespace an object lives in: `HOST`, or the sandbox's reference as `sandbox_ref` builds it."""

HOST: Final = NsRef("")
"""The namespace that plays the host (`--host-netns`, default the one we were started in)."""

LINK_GROUP: Final = 0x7265636F
"""IFLA_GROUP of every link we create, and of `lo` in namespaces we create ("reco"): our ownership mark (rtnetlink(7))."""

PLUGIN_ALIAS: Final = "reconciler-plugin:"
"""How the alias of a plugin's link in a sandbox begins; then the endpoint's short id, a colon, and the name it had on the host."""

PROTOCOL: Final = 178
"""rtm_protocol / IFA_PROTO of routes and addresses we create; unassigned in iproute2's rt_protos."""

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

GATEWAY_NETWORK: Final = "docker_gwbridge"
"""The local bridge network by which attachments on overlay networks reach everything else (the engine's name)."""


def is_link_name(name: str) -> bool:
    """True for what the kernel takes as a link name (dev_valid_name in net/core/dev.c) and a shell reads without quotes."""
    return (
        0 < len(name) <= LINK_NAME_MAX
        and name not in (".", "..")
        and re.fullmatch(r"[a-zA-Z0-9_.-]+", name) is not None
    )


def derived_id(*parts: str) -> str:
    """Give 64 hex digits that depend on `parts` alone.

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


def short_id(id_: str) -> str:
    """Give what people are shown of an id, and what goes into names."""
    return id_[:12]


def attachment_id(host: str, name: str) -> str:
    """What stands where docker has the container id."""
    return derived_id("attachment", host, name)


def endpoint_id(host: str, network: str, attachment: str) -> str:
    return derived_id("endpoint", host, network, attachment)


def bridge_link_name(network_id_: str) -> str:
    """The engine's default: `br-` and the short id."""
    return f"br-{network_id_[:12]}"


def veth_link_name(endpoint_id_: str) -> str:
    """Host side of an endpoint's veth pair; the prefix lets networkd and NetworkManager be told to leave it alone."""
    return f"rcv{endpoint_id_[:12]}"


def overlay_ns(network_id_: str, instance: str) -> NsRef:
    """Namespace of an overlay network's bridges on one host; several hosts on one machine share the folder of names."""
    return NsRef(f"netns:{OVERLAY_PREFIX}{network_id_[:12]}-{instance[:8]}")


def bridge_mac(network_id_: str) -> str:
    """A fixed address, so that the bridge does not take that of its lowest port as ports come and go."""
    return "02:42:" + ":".join(network_id_[i : i + 2] for i in range(0, 8, 2))


def instance_id(state_dir: str, host: str) -> str:
    """Tells reconcilers on one machine apart that share /run/netns (several hosts played by namespaces)."""
    return derived_id("instance", state_dir, host)[:16]
