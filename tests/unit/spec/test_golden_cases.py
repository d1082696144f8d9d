"""Folders of bad specs beside the faults and warnings that they give. UPDATE_GOLDEN=1 rewrites; a human reads the difference."""

import os
from pathlib import Path

import pytest

from reconciler.spec.load import load_specs

CASES = sorted(path for path in (Path(__file__).parent / "cases").iterdir() if path.is_dir())


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_every_fault_of_every_file_is_said_with_its_place(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(case)

    loaded = load_specs(Path("."), host="alpha")

    said = "".join(f"{said}\n" for said in (*loaded.faults, *loaded.warnings))
    said += f"left: {' '.join(network.name for network in loaded.wanted.networks)}\n"
    said += f"left: {' '.join(attachment.name for attachment in loaded.wanted.attachments)}\n".replace(" \n", "\n")
    if os.environ.get("UPDATE_GOLDEN"):
        (case / "faults.txt").write_text(said)
    assert said == (case / "faults.txt").read_text()
    assert loaded.wanted.has_faults
