"""An answer that goes on and on, one message a line, cut into its lines."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.http.client_protocol import AnswerTooLong


class Lines:
    """line_max: bytes of a line that has not ended."""

    def __init__(self, line_max: int) -> None:
        self._line_max = line_max
        self._rest = bytearray()
        self._searched = 0

    def add(self, piece: bytes) -> None:
        self._rest += piece

    def next(self) -> bytes | None:
        """Return the next line without its end; None when it is not whole yet. Raises AnswerTooLong."""
        end = self._rest.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._rest)
            if self._searched > self._line_max:
                raise AnswerTooLong(self._line_max)
            return None
        line = bytes(self._rest[:end])
        del self._rest[: end + 1]
        self._searched = 0
        return line

    def whole(self) -> Iterator[bytes]:
        """Yield all lines that are whole."""
        while (line := self.next()) is not None:
            yield line
