"""The networks that a container joins, with its addresses and names there. Pure."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

from msgspec import Struct

from reconciler.importing.compose.merge import distinct, named
from reconciler.importing.compose.parts import Parts, Project
from reconciler.importing.compose.replicas import Replica
from reconciler.importing.compose.tree import Node, items, mapping, text
from reconciler.importing.values import Path
from reconciler.spec.fields import parse_alias

_ENDPOINT_KEYS: Final = (
    *("ipv4_address", "ipv6_address", "link_local_ips", "mac_address", "aliases", "priority", "gw_priority"),
    *("interface_name", "driver_opts"),
)


def put_networks(replica: Replica, node: Node, mode: str, parts: Parts, project: Project) -> None:
    at = node.get("networks") or node.get("network_mode") or node
    mac = node.get("mac_address")
    if mode in ("none", "host"):
        parts.put(("network_mode",), mode, at)
        return
    if mode:
        project.joined.update(key for key, network in project.networks.items() if network.name == mode)
        joined = {mode: _Joined(name=project.names.get(mode, mode), node=at, is_builtin=mode == "bridge")}
    else:
        joined = _joined(replica.service, node, project)
        only = next(iter(joined.values())) if len(joined) == 1 else None
        if only is not None and only.is_builtin and only.name in ("none", "host"):
            parts.put(("network_mode",), only.name, at)
            return
    main = min(joined, key=lambda key: (-joined[key].priority, key)) if mac is not None and mac.value != "" else None
    found: dict[str, object] = {}
    for key, each in joined.items():
        endpoint = _endpoint(replica, each, parts)
        if key == main and mac is not None:
            endpoint.setdefault("mac_address", text(mac, "mac_address"))
            parts.places.setdefault(("networks", each.name, "mac_address"), str(mac.place))
        found[each.name] = endpoint
    if found == {"bridge": {}}:
        parts.put(("network_mode",), "bridge", at)
        return
    parts.put(("networks",), found, at)


class _Joined(Struct, frozen=True, kw_only=True):
    """A network that a service is on. node: what it says of it."""

    name: str
    node: Node
    is_builtin: bool

    @property
    def priority(self) -> int:
        found = self.node.get("priority")
        return found.value if found is not None and isinstance(found.value, int) else 0


def _joined(service: str, node: Node, project: Project) -> dict[str, _Joined]:
    entries = named(node.get("networks"), f"services.{service}.networks")
    if not entries:
        entries = {"default": Node(None, node.place, node.key)}
    found = {}
    for key, inner in entries.items():
        network = project.networks.get(key)
        if network is None:
            near = get_close_matches(key[:40], project.networks, n=1)
            hint = f"did you mean '{near[0]}'?" if near else "declare it below the top's 'networks'"
            raise inner.key.fault(f"service {service} is on network '{key}', which nobody declares: {hint}")
        mapping(inner, f"services.{service}.networks.{key}")
        project.joined.add(key)
        found[key] = _Joined(name=project.names[network.name], node=inner, is_builtin=network.is_builtin)
    return found


def _endpoint(replica: Replica, joined: _Joined, parts: Parts) -> dict[str, object]:
    """Return what stands below a network, with the names that Compose gives a container besides."""
    what = f"services.{replica.service}.networks.{joined.name}"
    entries, path = joined.node.entries, ("networks", joined.name)
    parts.places[path] = str(joined.node.key)
    found: dict[str, object] = {}
    for key in _ENDPOINT_KEYS:
        inner = entries.get(key)
        if key == "aliases":
            aliases = _aliases(replica, inner, what, parts, (*path, key), is_builtin=joined.is_builtin)
            found |= {key: aliases} if aliases else {}
        elif inner is not None and inner.value not in (None, ""):
            value = _endpoint_value(key, inner, f"{what}.{key}")
            if replica.number > 1 and key in ("ipv4_address", "ipv6_address", "mac_address", "link_local_ips"):
                parts.left_out(
                    inner, f"{key} of container {replica.number}", "the first container of the service has it"
                )
                continue
            found[key] = value
            parts.places[(*path, key)] = str(inner.place)
    for key, inner in entries.items():
        if key not in _ENDPOINT_KEYS and not key.startswith("x-"):
            parts.left_out(
                inner, f"networks.{joined.name}.{key}", "specs have nothing like it: look at how it is spelt"
            )
    return found


def _endpoint_value(key: str, node: Node, what: str) -> object:
    if key == "link_local_ips":
        return [text(item, what) for item in distinct(items(node, what), what)]
    if key == "driver_opts":
        return {name: text(value, what) for name, value in mapping(node, what).items()}
    if key in ("priority", "gw_priority"):
        typed = text(node, what)
        if not typed.removeprefix("-").isdecimal():
            raise node.place.fault(f"{what}: expected a whole number")
        return int(typed)
    return text(node, what)


def _is_alias(name: str) -> bool:
    try:
        return parse_alias(name) == name
    except ValueError:
        return False


def _aliases(
    replica: Replica, node: Node | None, what: str, parts: Parts, path: Path, *, is_builtin: bool
) -> list[str]:
    """Return the names beside the attachment's own: the service's, the container's, and those that are listed."""
    implied = () if is_builtin else (replica.service, replica.container)
    found = [name for name in dict.fromkeys(implied) if name != replica.name and _is_alias(name)]
    for item in items(node, f"{what}.aliases"):
        alias = text(item, f"{what}.aliases")
        if alias not in (*found, replica.name):
            parts.places[(*path, len(found))] = str(item.place)
            found.append(alias)
    return found
