"""One exchange over a Unix socket that never waits: for whoever has several at once, or a loop of its own."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Final

from reconciler.http.client_protocol import ClientProtocol, Request

_PIECE: Final = 1 << 16


class Exchange:
    """On a connection of its own. Readable when there is something to `advance` with. Raises OSError.

    answering: what came, as it comes. body_max: as of ClientProtocol.
    """

    def __init__(self, path: Path, request: Request, body_max: int | None = None) -> None:
        self.answering = ClientProtocol("localhost")
        data = self.answering.asked(request, is_last=True, body_max=body_max)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self._socket.connect(str(path))
            if self._socket.send(data) != len(data):
                raise OSError("it does not take a request")
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def advance(self) -> None:
        """Take what has come. Raises OSError, BadAnswer, AnswerTooLong."""
        try:
            piece = self._socket.recv(_PIECE)
        except BlockingIOError:
            return
        self.answering.receive(piece)

    def close(self) -> None:
        self._socket.close()
