"""What an engine says of containers, one after the other by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reconciler.container_engine.exchange import EngineResponse, ask
from reconciler.container_engine.inspection import described, inspect_target
from reconciler.errors import ContainerEngineError, KernelError
from reconciler.kernel.processes import process_ref
from reconciler.model.containers import Container, ContainerAnswer, NoContainer


def inspected(path: Path, names: Sequence[str], timeout_s: float) -> list[ContainerAnswer | ContainerEngineError]:
    """Return the answers of the engine at `path` in the order of the names; an error where it gave none."""
    replies = ask(path, [inspect_target(name) for name in names], timeout_s)
    return [_answer(path, name, reply) for name, reply in zip(names, replies, strict=True)]


def _answer(path: Path, name: str, reply: EngineResponse) -> ContainerAnswer | ContainerEngineError:
    if isinstance(reply, ContainerEngineError):
        return reply
    try:
        found = described(path, name, reply)
        if isinstance(found, NoContainer):
            return found
        process = process_ref(found.pid)
    except ContainerEngineError as error:
        return error
    except KernelError as error:
        return ContainerEngineError(str(error))
    if process is None:
        return NoContainer(reason=f"process {found.pid} of container {name} has ended, or is not in our PID namespace")
    return Container(id=found.id, process=process, files=found.files)
