"""Specs on trial: <state-dir>/trial.json says which, and when they are taken back unless somebody confirms them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct, field
from msgspec.structs import asdict

from reconciler.guard.last_good import Texts, fields_of, texts_from
from reconciler.guard.state_file import read_fields, remove, write_fields
from reconciler.kernel.place import place
from reconciler.records.lenient import mapping_of, number_of, text_of, texts_of


class Trial(Struct, frozen=True, kw_only=True):
    """deadline: in seconds since the boot (CLOCK_BOOTTIME, clock_gettime(2)), so that setting the clock does not move it.

    boot: a trial of an earlier boot is over. specs: the folder that they stand in. kept: as in `LastGood`, for when these
    specs become the last good ones.
    """

    id: str
    digest: str
    texts: Texts
    deadline: float
    boot: str
    kept: Mapping[str, str] = field(default_factory=dict)
    specs: str = ""

    def is_over(self) -> bool:
        return self.boot != current_boot() or self.left_s() <= 0

    def left_s(self) -> float:
        return self.deadline - since_boot()


def since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def current_boot() -> str:
    return place().partition("/")[0]


def read_trial(state_dir: Path) -> Trial | None:
    fields = read_fields(state_dir / "trial.json")
    if fields is None:
        return None
    return Trial(
        id=text_of(fields, "id"),
        digest=text_of(fields, "digest"),
        texts=texts_from(mapping_of(fields, "texts")),
        deadline=number_of(fields, "deadline"),
        boot=text_of(fields, "boot"),
        kept=texts_of(fields, "kept"),
        specs=text_of(fields, "specs"),
    )


def write_trial(state_dir: Path, trial: Trial) -> None:
    write_fields(state_dir / "trial.json", {**asdict(trial), "texts": fields_of(trial.texts)})


def forget_trial(state_dir: Path) -> None:
    remove(state_dir / "trial.json")
