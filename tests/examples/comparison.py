"""What status files and inspected networks are compared by, with each other and with the recording."""

from __future__ import annotations

import json
import re
from pathlib import Path


def golden(name: str) -> dict[str, object]:
    """Give a network as `docker network inspect` of a 20.10 engine printed it."""
    documents: list[dict[str, object]] = json.loads((Path(__file__).parent / "golden" / f"{name}.json").read_text())
    return documents[0]


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Give content and modification time of every file."""
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(folder.rglob("*")) if path.is_file()
    }


def without_ids(document: dict[str, object]) -> dict[str, object]:
    """Give an inspected network without what is different at each run: ids and times. Key order counts elsewhere."""
    containers = document["Containers"]
    assert isinstance(containers, dict)
    entries = sorted(
        ({**entry, "EndpointID": ""} for entry in containers.values()), key=lambda entry: str(entry["Name"])
    )
    return {**document, "Id": "", "Created": "", "Containers": entries}


def keys(value: object) -> object:
    """Give the keys in their order, all the way down; ids as keys are left out."""
    if isinstance(value, dict):
        return [
            (name if not re.fullmatch(r"[0-9a-f]{64}", name) else "<id>", keys(below)) for name, below in value.items()
        ]
    if isinstance(value, list):
        return [keys(below) for below in value]
    return type(value).__name__
