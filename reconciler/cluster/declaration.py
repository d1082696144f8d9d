"""How a global network was declared, as canonical JSON in Compose's words: hosts compare it, and read it like a spec."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Final

from reconciler.model.drivers import traits_of
from reconciler.model.wanted import NetworkWanted, SubnetWanted
from reconciler.spec.network import NetworkSpec, network_wanted

_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"))

_KEYS: Final = frozenset(
    ("attachable", "driver", "driver_opts", "enable_ipv4", "enable_ipv6", "internal", "ipam", "labels")
)
"""What hosts have to agree on. `protect` and `onDrift` are each host's own business."""

_DIFFERENCES_MAX: Final = 5
_SHOWN_MAX: Final = 60


def declaration(network: NetworkWanted) -> str:
    """Return what the specs say of a network: keys sorted, only what differs from the default."""
    return _ENCODER.encode(declared_fields(network))


def declared_fields(network: NetworkWanted) -> dict[str, object]:
    """Return the same as a mapping."""
    fields = {
        "attachable": network.is_attachable,
        "driver": network.driver,
        "driver_opts": dict(network.options),
        "enable_ipv6": network.is_ipv6_enabled,
        "internal": network.is_internal,
        "ipam": _ipam_fields(network),
        "labels": dict(network.labels),
    }
    said = {key: value for key, value in fields.items() if value}
    return said if network.is_ipv4_enabled else {**said, "enable_ipv4": False}


def _ipam_fields(network: NetworkWanted) -> dict[str, object]:
    fields: dict[str, object] = {"config": [_subnet_fields(subnet) for subnet in network.subnets]}
    fields["options"] = dict(network.ipam_options or ())
    if network.ipam_driver != "default":
        fields["driver"] = network.ipam_driver
    return {key: value for key, value in fields.items() if value}


def _subnet_fields(subnet: SubnetWanted) -> dict[str, object]:
    fields: dict[str, object] = {"subnet": str(subnet.subnet)}
    if subnet.ip_range is not None:
        fields["ip_range"] = str(subnet.ip_range)
    if subnet.gateway is not None:
        fields["gateway"] = str(subnet.gateway)
    if subnet.aux_addresses:
        fields["aux_addresses"] = {name: str(address) for name, address in subnet.aux_addresses}
    return fields


def declaration_digest(text: str) -> str:
    """Return what stands for a declaration in a member's record."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def declared_network(name: str, fields: object) -> NetworkWanted:
    """Read a declaration like a spec. Raises ValueError, without repeating its content."""
    if not isinstance(fields, dict) or not fields.keys() <= _KEYS:
        raise ValueError("the declaration has keys that none of ours has")
    driver = fields.get("driver")
    if not isinstance(driver, str) or not traits_of(driver).may_be_shared:
        raise ValueError("the declaration's driver is none of global networks")
    try:
        json.dumps(fields, ensure_ascii=False).encode()
        spec = NetworkSpec.model_validate(fields)
    except ValueError:
        raise ValueError("the declaration is none that a spec could make") from None
    wanted, faults = network_wanted(name, spec)
    if wanted is None:
        raise ValueError(f"the declaration's {faults[0][0][0]} is not valid")
    if wanted.ipam_driver != "default" or not (wanted.is_ipv4_enabled or wanted.is_ipv6_enabled):
        raise ValueError("the declaration leaves no addresses to the cluster")
    return wanted


def differences(mine: str, theirs: str) -> str:
    """Return in words what two declarations disagree on, "" if on nothing; bounded, whatever they hold."""
    here, there = _leaves(json.loads(mine)), _leaves(json.loads(theirs))
    keys = [key for key in sorted(here.keys() | there.keys()) if here.get(key) != there.get(key)]
    told = [f"{_shown(key)}: here {_value(here, key)}, there {_value(there, key)}" for key in keys[:_DIFFERENCES_MAX]]
    rest = len(keys) - len(told)
    return "; ".join([*told, f"and {rest} more"] if rest else told)


def _leaves(fields: Mapping[str, object]) -> dict[str, str]:
    return dict(_walked("", fields))


def _walked(path: str, value: object) -> Iterator[tuple[str, str]]:
    """Yield each value under its path, as `ipam.config.1.subnet`."""
    entries = value.items() if isinstance(value, dict) else enumerate(value, 1) if isinstance(value, list) else None
    if entries is None:
        yield path, value if isinstance(value, str) else json.dumps(value)
        return
    for key, below in entries:
        yield from _walked(f"{path}.{key}" if path else str(key), below)


def _value(leaves: Mapping[str, str], key: str) -> str:
    return _shown(leaves[key]) if key in leaves else "not set"


def _shown(text: str) -> str:
    return text[:_SHOWN_MAX] if text.isprintable() else ascii(text[:_SHOWN_MAX])
