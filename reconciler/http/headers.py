"""What stands in the head of a message."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence


class Headers(Mapping[str, str]):
    """Found by name in any case; several of one name are joined by commas. size: in characters."""

    def __init__(self, raw: Sequence[tuple[bytes, bytes]]) -> None:
        self._values: dict[str, str] = {}
        self.size = 0
        for name, value in ((name.decode("ascii"), value.decode("latin-1")) for name, value in raw):
            self._values[name] = f"{self._values[name]}, {value}" if name in self._values else value
            self.size += len(name) + len(value)

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)
