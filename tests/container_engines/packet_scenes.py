"""What packets are compared in. Who changes a scene records it anew: see record.sh."""

from __future__ import annotations

from typing import Any, Final

from tests.container_engines.packet_scene import HOST, OTHER, Scene

_BRIDGE: Final = "com.docker.network.bridge"


def _network(number: int, families: str = "46", *, internal: bool = False, **options: str) -> dict[str, Any]:
    """Options: those of the bridge driver, without their prefix."""
    subnets = {"4": f"172.30.{number}.0/24", "6": f"fd30:{number}::/64"}
    return {
        **({} if "4" in families else {"enable_ipv4": False}),
        **({"internal": True} if internal else {}),
        "enable_ipv6": "6" in families,
        "ipam": {"config": [{"subnet": subnets[family]} for family in families]},
        "driver_opts": {f"{_BRIDGE}.{option}": value for option, value in options.items()},
    }


def _modes(mode: str) -> dict[str, str]:
    return {f"gateway_mode_ipv{version}": mode for version in (4, 6)}


_SNAT: Final = _network(10, "4") | {"driver_opts": {"com.docker.network.host_ipv4": OTHER["4"]}}

_NETWORKS: Final = Scene(
    networks={
        "front": _network(1),
        "back": _network(2),
        "four": _network(4, "4"),
        "parted": _network(5, enable_icc="false"),
        "inner": _network(6, internal=True),
        "six": _network(7, "6"),
        "open": _network(8, **_modes("nat-unprotected")),
        "routed": _network(9, **_modes("routed")),
        "snat": _SNAT,
        "plain": _network(11, enable_ip_masquerade="false"),
        "bound": _network(12, host_binding_ipv4="127.0.0.1"),
        "trusted": _network(13, trusted_host_interfaces="uplink0"),
        "alone": _network(14, internal=True, **_modes("isolated")),
        "bare": _network(15, "4", inhibit_ipv4="true"),
    },
    without_gateway={"alone", "bare"},
    since_28={"six", "open", "routed", "trusted", "alone"},
    containers={
        "web": {
            "networks": {"front": 2},
            "ports": {
                "80/tcp": ("", 8080),
                "80/udp": ("", 8080),
                "81/tcp": ("127.0.0.1", 8081),
                "82/tcp": ("::1", 8082),
                "83/tcp": (HOST["4"], 8083),
                "84/tcp": (HOST["6"], 8084),
                "85/tcp": ("0.0.0.0", 8085),
                "86/tcp": ("::", 8086),
                "87/tcp": ("172.30.2.1", 8087),
                "88/tcp": (OTHER["4"], 8088),
                "89/tcp": (OTHER["6"], 8089),
            },
        },
        "near": {"networks": {"front": 3}},
        "far": {"networks": {"back": 2}, "ports": {"80/tcp": ("", 8090)}},
        "two": {"networks": {"back": 4, "front": 4}, "ports": {"80/tcp": ("", 8150)}},
        "edge": {"networks": {"front": 5, "inner": 5}, "ports": {"80/tcp": ("", 8100)}},
        "mixed": {"networks": {"bridge": 0, "back": 6}},
        "old": {"networks": {"four": 2}, "ports": {"80/tcp": ("", 8040)}},
        "apart1": {"networks": {"parted": 2}, "ports": {"80/tcp": ("", 8050), "80/udp": ("", 8050)}},
        "apart2": {"networks": {"parted": 3}},
        "in1": {"networks": {"inner": 2}, "ports": {"80/tcp": ("", 8060)}},
        "in2": {"networks": {"inner": 3}},
        "default": {"networks": {"bridge": 0}, "ports": {"80/tcp": ("", 8010)}},
        "v6": {"networks": {"six": 2}, "ports": {"80/tcp": ("", 8070)}},
        "unfiltered": {"networks": {"open": 2}, "ports": {"80/tcp": ("", 8110)}},
        "direct": {"networks": {"routed": 2}, "ports": {"80/tcp": ("", 8120)}},
        "translated": {"networks": {"snat": 2}, "ports": {"80/tcp": ("", 8130)}},
        "unmasked": {"networks": {"plain": 2}, "ports": {"80/tcp": ("", 8140)}},
        "local": {"networks": {"bound": 2}, "ports": {"80/tcp": ("", 8160)}},
        "friend": {"networks": {"trusted": 2}, "ports": {"80/tcp": ("", 8170)}},
        "alone1": {"networks": {"alone": 2}},
        "alone2": {"networks": {"alone": 3}},
        "bare1": {"networks": {"bare": 2}, "ports": {"80/tcp": ("", 8180)}},
        "bare2": {"networks": {"bare": 3}},
    },
)

_DEFAULT_BRIDGE: Final = Scene(
    engine_options="--icc=false --bip=172.17.0.1/16 --ipv6 --fixed-cidr-v6=fd30:100::/64",
    networks={
        "bridge": {
            "enable_ipv6": True,
            "ipam": {"config": [{"subnet": "172.17.0.0/16"}, {"subnet": "fd30:100::/64"}]},
            "driver_opts": {f"{_BRIDGE}.enable_icc": "false"},
        },
        "front": _network(1),
    },
    containers={
        "db": {"networks": {"bridge": 0}, "ports": {"80/tcp": ("", 8080)}, "expose": ["81"]},
        "linked": {"networks": {"bridge": 0}, "links": ["db:database"]},
        "parted": {"networks": {"bridge": 0}, "ports": {"80/udp": ("", 8081)}},
        "far": {"networks": {"front": 2}},
    },
)

SCENES: Final = {"networks": _NETWORKS, "default-bridge": _DEFAULT_BRIDGE}
