"""What of a Compose file is looked at, and the variables in it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from reconciler.errors import SpecError
from reconciler.importing.compose.interpolation import BadVariable, filled
from reconciler.importing.compose.tree import Node, Notes, mapping, rewritten

SERVICE_KEYS: Final = frozenset(
    (
        *(
            "container_name",
            "deploy",
            "dns",
            "dns_opt",
            "dns_search",
            "domainname",
            "expose",
            "extends",
            "external_links",
        ),
        *("extra_hosts", "hostname", "links", "mac_address", "network_mode", "networks", "ports", "profiles", "scale"),
        "sysctls",
    )
)
"""What of a service is looked at; of the rest, that it is there."""
_DEPLOY_KEYS: Final = ("mode", "replicas")


def looked_at(tree: Node, environment: Mapping[str, str], notes: Notes) -> Node:
    """Return the same without what lies inside what importing does not look at, and with variables filled in."""
    sections = {}
    for name, section in tree.entries.items():
        if name == "services":
            section = _services(section, notes)
        elif name not in ("name", "include", "networks"):
            section = _unseen(section)
        sections[name] = section
    return _filled(replace(tree, value=sections), environment, notes)


def entries_of(node: Node, what: str, notes: Notes) -> Mapping[str, Node]:
    """Return the entries of a mapping; none, and a fault, where it is none."""
    try:
        return mapping(node, what)
    except SpecError as fault:
        notes.faults.append(fault)
        return {}


def _services(services: Node, notes: Notes) -> Node:
    found = {}
    for name, service in entries_of(services, "services", notes).items():
        entries = entries_of(service, f"services.{name}", notes)
        kept = {key: value if key in SERVICE_KEYS else _unseen(value) for key, value in entries.items()}
        if "deploy" in kept:
            kept["deploy"] = _deploy(kept["deploy"])
        found[name] = replace(service, value=kept)
    return replace(services, value=found)


def _deploy(node: Node) -> Node:
    if not isinstance(node.value, Mapping):
        return node
    return replace(node, value={key: value for key, value in node.value.items() if key in _DEPLOY_KEYS})


def _unseen(node: Node) -> Node:
    return replace(node, value="")


def _filled(tree: Node, environment: Mapping[str, str], notes: Notes) -> Node:
    def change(node: Node) -> Node:
        if not isinstance(node.value, str) or "$" not in node.value:
            return node
        try:
            return replace(node, value=filled(node.value, environment, lambda name: unset(node, name)))
        except BadVariable as error:
            notes.fault(node.place, str(error))
            return node

    def unset(node: Node, name: str) -> None:
        why = "it is not set, so it is empty here, as Compose has it: set it in the environment or .env, or give a default"
        notes.left_out(node.place, f"variable {name}", why)

    return rewritten(tree, change)
