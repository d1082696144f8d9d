"""A Compose project -> what specs say of it: the door of this package. Pure: files are read by who asks."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from reconciler.errors import SpecError
from reconciler.importing.compose.model import Reader, ReadText, Setting
from reconciler.importing.compose.networks import Network, declared_networks, imported_network
from reconciler.importing.compose.parts import Project
from reconciler.importing.compose.replicas import replicas_of
from reconciler.importing.compose.services import attachments, container_keys
from reconciler.importing.compose.tree import Node, Notes, Place, from_json, items, mapping, text
from reconciler.importing.names import spec_names
from reconciler.importing.values import Imported

_TOP: Final = ("configs", "include", "models", "name", "networks", "secrets", "services", "version", "volumes")
_MODES: Final = ("none", "disabled", "host", "bridge", "default")
_NAME: Final = re.compile("[a-z0-9_-]")

Printed = Callable[[], object]
"""What `docker compose config` prints, as JSON; None where it cannot be asked."""


class Asked(Struct, frozen=True, kw_only=True):
    """What a person asked for. folder: of the project, "" for that of the first file. environment: of the process.

    called: what the project's folder is called. is_long: attachments are called as Compose calls containers. are_containers: they
    are for those containers, which Compose goes on to start.
    """

    files: tuple[str, ...]
    environment: Mapping[str, str]
    called: str = ""
    folder: str = ""
    project: str = ""
    profiles: tuple[str, ...] = ()
    env_files: tuple[str, ...] = ()
    is_long: bool = False
    are_containers: bool = False


class Found(Struct, frozen=True, kw_only=True):
    """imported: None where the files have faults."""

    imported: Imported | None
    faults: tuple[SpecError, ...] = ()


def read_compose(asked: Asked, read: ReadText, printed: Printed) -> Found:
    """Return the project in the words of specs, or every fault of its files. printed: is preferred to our own merge."""
    notes = Notes()
    reader = Reader(read, notes)
    folder = asked.folder or posixpath.dirname(asked.files[0])
    environment = _environment(asked, folder, reader)
    project = _project_name(asked, reader, environment)
    if not project:
        notes.fault(Place(asked.files[0]), "the project has no name: give it one with --project-name")
    setting = Setting(folder=folder, environment={**environment, "COMPOSE_PROJECT_NAME": project})
    model = reader.project(asked.files, setting)
    if not notes.faults:
        model, project = _as_printed(printed(), model, project, asked.files[0])
        profiles = asked.profiles or tuple(filter(None, environment.get("COMPOSE_PROFILES", "").split(",")))
        imported = _imported(project, model, replace(asked, profiles=profiles), notes)
        if not notes.faults:
            return Found(imported=imported)
    return Found(imported=None, faults=tuple(dict.fromkeys(notes.faults)))


def _environment(asked: Asked, folder: str, reader: Reader) -> dict[str, str]:
    """Return what variables are filled in from: what the process has wins over files, a later file over an earlier one."""
    found: dict[str, str] = {}
    for file in asked.env_files:
        found |= reader.environment(file, {**found, **asked.environment}, Place(file))
    if not asked.env_files and asked.environment.get("COMPOSE_DISABLE_ENV_FILE", "").lower() not in ("1", "true"):
        found = reader.environment(posixpath.join(folder, ".env"), asked.environment, None)
    return {**found, **asked.environment}


def _project_name(asked: Asked, reader: Reader, environment: Mapping[str, str]) -> str:
    given = asked.project or environment.get("COMPOSE_PROJECT_NAME", "")
    name = given or reader.named(asked.files, environment) or asked.called
    return "".join(_NAME.findall(name.lower())).lstrip("_-")


def _as_printed(printed: object, model: Node, project: str, file: str) -> tuple[Node, str]:
    if not isinstance(printed, dict):
        return model, project
    return from_json(printed, model, Place(file)), str(printed.get("name", project))


def _imported(project: str, model: Node, asked: Asked, notes: Notes) -> Imported | None:
    file = asked.files[0]
    try:
        services = _active(mapping(model.get("services"), "services"), asked.profiles, notes)
        sections = mapping(model.get("networks"), "networks")
    except SpecError as fault:
        notes.faults.append(fault)
        return None
    default = Node(None, Place(file), Place(file))
    networks = declared_networks(project, {"default": default, **sections}, notes)
    networks |= _named_by_mode(services, {network.name for network in networks.values()})
    names = spec_names(network.name for network in networks.values())
    replicas = replicas_of(project, services, notes, is_long=asked.is_long)
    if notes.faults:
        return None
    known = Project(
        networks=networks,
        names=names,
        replicas=replicas,
        notes=notes,
        joined=set(),
        are_containers=asked.are_containers,
    )
    made = tuple(each for name, node in services.items() for each in attachments(name, node, known))
    kept = {network.name: network for key, network in networks.items() if key in known.joined}
    _tell_unused(sections, networks, kept, notes)
    _tell_of_the_whole(model, services, file, notes)
    return Imported(
        networks=tuple(
            imported_network(network, names[name], notes) for name, network in kept.items() if not network.is_builtin
        ),
        attachments=made,
        not_carried=tuple(notes.not_carried),
    )


def _active(services: Mapping[str, Node], profiles: Sequence[str], notes: Notes) -> dict[str, Node]:
    """Return the services that are of no profile, or of one that is asked for."""
    found = {}
    for name, node in services.items():
        entries = mapping(node, f"services.{name}")
        own = [
            text(item, f"services.{name}.profiles")
            for item in items(entries.get("profiles"), f"services.{name}.profiles")
        ]
        if not own or "*" in profiles or not {*own}.isdisjoint(profiles):
            found[name] = node
        else:
            why = f"it is of profile {', '.join(own)} only: ask for that with --profile {own[0]}"
            notes.left_out(node.key, f"service {name}", why)
    return found


def _named_by_mode(services: Mapping[str, Node], known: set[str]) -> dict[str, Network]:
    """Return the networks that a service joins by `network_mode: NAME`, which others made."""
    found = {}
    for node in services.values():
        mode = node.get("network_mode")
        name = mode.value if mode is not None else ""
        is_name = isinstance(name, str) and name and ":" not in name and name not in _MODES
        if mode is not None and is_name and name not in known:
            found[f"network_mode {name}"] = Network(key=str(name), node=mode, name=str(name), is_external=True)
    return found


def _tell_unused(
    sections: Mapping[str, Node], networks: Mapping[str, Network], kept: Mapping[str, Network], notes: Notes
) -> None:
    for key, node in sections.items():
        network = networks.get(key)
        if network is not None and network.name not in kept and not network.is_builtin:
            notes.left_out(node.key, f"network {key}", "no service is on it, so Compose does not make it either")


def _tell_of_the_whole(model: Node, services: Mapping[str, Node], file: str, notes: Notes) -> None:
    for key, node in mapping(model, file).items():
        if key not in _TOP and not key.startswith("x-"):
            notes.left_out(node.key, key, "no Compose that we know has it: look at how it is spelt")
    keys = container_keys(services)
    if keys:
        why = (
            "specs say how containers are connected, not what runs: start the processes in the sandboxes "
            "(`reconcile exec NAME …`), or give an attachment `sandbox: {container: NAME}` to join a container that you start"
        )
        notes.left_out(Place(file), ", ".join(keys), why)
