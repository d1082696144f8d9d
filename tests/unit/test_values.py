"""Values of which some fields make no difference: these are not even looked into."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reconciler.model.objects import Unit
from reconciler.model.wanted import Source, WantedState


class Unlooked(Mapping[Unit, Source]):
    def __getitem__(self, unit: Unit) -> Source:
        raise AssertionError

    def __iter__(self) -> Iterator[Unit]:
        raise AssertionError

    def __len__(self) -> int:
        return 1


def test_two_specs_that_want_the_same_are_equal_without_asking_where_it_stands() -> None:
    one, other = (WantedState(networks=(), attachments=(), sources=Unlooked()) for _ in range(2))

    assert one == other
    assert one != WantedState(networks=(), attachments=(), has_faults=True)
