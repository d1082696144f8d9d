"""The containers that attachments name, and the files of theirs that hold our text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from reconciler.container_engine.client import Containers
from reconciler.incremental import Table
from reconciler.kinds.container_file import is_engines, observe
from reconciler.model.containers import Container, ContainerAnswer, NoContainer
from reconciler.model.identifiers import NsRef
from reconciler.model.observed import Keyed, SandboxFact
from reconciler.model.wanted import AttachmentWanted, NetworkMode, SandboxKind, WantedState
from reconciler.observe.memory import Memory

_KIND: Final = f"{SandboxKind.CONTAINER}:"


def observe_containers(
    wanted: WantedState, promised_sysctls: Iterable[tuple[NsRef, str]], containers: Containers, memory: Memory
) -> Mapping[str, ContainerAnswer]:
    """Return what is known of each container; who is not known yet is asked for, all at once.

    promised_sysctls: as `observe_host` takes them.
    """
    names = set(memory.container_names(wanted.attachments, _container_of).index(_name))
    names.update(ns.removeprefix(_KIND) for ns, _ in promised_sysctls if ns.startswith(_KIND))
    known = {name: answer for name, answer in memory.containers.items() if name in names}
    unknown = sorted(names - known.keys())
    if unknown:
        known.update((name, _with_files(found)) for name, found in containers.find(unknown).items())
    memory.containers = known
    return known


def _container_of(attachment: AttachmentWanted) -> str:
    is_one = attachment.mode is not NetworkMode.HOST and attachment.sandbox.kind is SandboxKind.CONTAINER
    return attachment.sandbox.value if is_one else ""


def _name(_: str, container: str) -> Iterable[str]:
    return (container,) if container else ()


def _with_files(found: ContainerAnswer) -> ContainerAnswer:
    """Leave only those files that the engine did make."""
    if isinstance(found, NoContainer):
        return found
    return replace(found, files=tuple((name, path) for name, path in found.files if is_engines(path)))


def with_containers(
    facts: Mapping[NsRef, SandboxFact], containers: Mapping[str, ContainerAnswer], memory: Memory
) -> Table[NsRef, SandboxFact]:
    """Add to the sandboxes that can be used what their engine says of them."""
    running = {NsRef(f"{_KIND}{name}"): found for name, found in containers.items() if isinstance(found, Container)}
    joined = {ns: replace(facts[ns], container=running[ns]) for ns in running if ns in facts and facts[ns].inode}
    return memory.all_sandboxes({(0,): facts, (1,): joined})


def container_files(run_dir: Path, memory: Memory) -> Keyed:
    """Return the engines' files that we wrote to."""
    if memory.container_files is None:
        memory.container_files = observe(run_dir)
    return memory.container_files
