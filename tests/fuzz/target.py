"""What a target of the fuzzer is: one border where others' bytes come in, and what holds there whatever they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

from reconciler.errors import ReconcilerError

Run = Callable[[bytes], object]


class Form(Enum):
    """How bytes are changed so that much of what comes of it is read on: as bytes, as text, as the JSON that they are."""

    BYTES = "bytes"
    TEXT = "text"
    JSON = "JSON"


@dataclass(frozen=True)
class Target:
    """One border.

    what: comes in there, in words. run: takes some of it; may raise one of `ours`, and AssertionError where something does not
    hold that must. seeds: good inputs. words: that mean something in it. runs: how many changed inputs the suite tries.
    is_bounded_elsewhere: what takes long is ended by the product in another way, which is tested there.
    """

    name: str
    what: str
    run: Run
    seeds: Callable[[], Iterable[bytes]]
    form: Form = Form.BYTES
    words: tuple[str, ...] = ()
    ours: tuple[type[Exception], ...] = (ReconcilerError,)
    runs: int = 300
    length_max: int = 4096
    is_bounded_elsewhere: bool = False


def listed(words: str) -> list[str]:
    """Return words that are parted by blanks."""
    return words.split()


def try_each(*calls: Callable[[], object]) -> None:
    """Call each, whatever the ones before came to; the last error of ours goes on, to be looked at."""
    last: ReconcilerError | None = None
    for call in calls:
        try:
            call()
        except ReconcilerError as error:
            last = error
    if last is not None:
        raise last
