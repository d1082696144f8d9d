"""Pings as fast as an answer can be measured, without a process per ping."""

from __future__ import annotations

import socket
import struct
import time

from tests.machine import Machine


class Echo:
    """Pings from a namespace."""

    def __init__(self, machine: Machine, ns: str) -> None:
        with machine.inside(ns):
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self._socket.settimeout(0.002)
        self._number = 0

    def __enter__(self) -> Echo:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def wait(self, address: str, deadline_s: float = 10.0) -> None:
        """Ping every 2 ms until an answer to one of these pings comes. Raises TimeoutError."""
        end = time.monotonic() + deadline_s
        while time.monotonic() < end:
            self._number = (self._number + 1) & 0xFFFF
            try:
                self._socket.sendto(_echo_request(self._number), (address, 0))
                reply, (source, _) = self._socket.recvfrom(512)
            except OSError:
                time.sleep(0.0005)
                continue
            if source == address and reply[20] == 0:
                return
        raise TimeoutError(f"{address} does not answer")

    def settle(self) -> None:
        """Take what answers are still on their way."""
        time.sleep(0.3)
        while True:
            try:
                self._socket.recv(512)
            except OSError:
                return


def _echo_request(number: int) -> bytes:
    head = struct.pack(">BBHHH", 8, 0, 0, 0x7265, number)
    total = sum(struct.unpack(">4H", head))
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return head[:2] + struct.pack(">H", checksum) + head[4:]
