"""Real packets from the sandboxes of this host: who reaches whom, beside what the specs say."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from reconciler.backends import Backends
from reconciler.errors import ReconcilerError
from reconciler.model.identifiers import HOST
from reconciler.pipeline import load, look
from reconciler.reach.probing import Probe
from reconciler.reach.site import Site
from reconciler.reach.values import Party, PartyKind
from reconciler.reach.walk import Walk
from reconciler.sandbox_exec import enter_network_namespace
from reconciler.settings import Settings
from reconciler.spec.load import LoadedSpecs

_TRIES: Final = 3
_TRY_S: Final = 0.5
_AT_ONCE: Final = 8
_PACKETS_MAX: Final = 200
"""Under way from one client at once: so few that no queue is too short for them."""

_ECHO: Final = {4: (8, 0), 6: (128, 129)}
"""Types of request and reply, by version (RFC 792, 4443)."""


def host_walk(settings: Settings, backends: Backends) -> tuple[LoadedSpecs, Walk]:
    """Look at the host, and give the specs with what they bring about there, ready to be asked."""
    loaded = load(settings)
    view = look(loaded.wanted, settings, backends)
    return loaded, Walk(sites={settings.host: Site(desired=view.decision.desired)})


def answered(
    probes: Iterable[Probe], walk: Walk, backends: Backends, is_over: Callable[[], bool] = lambda: False
) -> Mapping[Probe, bool]:
    """Send the packets, and say of each whether somebody answered. Clients whose sandbox is not there are left out.

    is_over: says that nobody wants to know any more.
    """
    by_client: defaultdict[Party, list[Probe]] = defaultdict(list)
    for probe in probes:
        by_client[probe.packet.client].append(probe)
    paths = {client: _path(client, walk, backends) for client in by_client}
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        work = [
            threads.submit(_of_client, is_over, paths[client], found[first : first + _PACKETS_MAX])
            for client, found in by_client.items()
            for first in range(0, len(found), _PACKETS_MAX)
        ]
        return {probe: is_answered for each in work for probe, is_answered in each.result()}


def _path(client: Party, walk: Walk, backends: Backends) -> Path | None:
    """Return the namespace of a client, None for the host's."""
    if client.kind is PartyKind.HOST:
        return None
    ns = walk.sites[client.host].members[client.name].ns
    return None if ns == HOST else Path(backends.namespaces.path(ns))


def _of_client(is_over: Callable[[], bool], path: Path | None, probes: Sequence[Probe]) -> list[tuple[Probe, bool]]:
    """Ask from one namespace; the thread stays there only as long as it takes to make the sockets."""
    if is_over():
        return []
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if path is not None:
            enter_network_namespace(path)
        try:
            reached = {*_pinged(probes), *_connected(probes)}
        finally:
            enter_network_namespace(Path(f"/proc/thread-self/fd/{own}"))
    except ReconcilerError:
        return []
    finally:
        os.close(own)
    return [(probe, index in reached) for index, probe in enumerate(probes)]


def _pinged(probes: Sequence[Probe]) -> Iterator[int]:
    """Yield the numbers of those whose pings are answered."""
    for version, family, protocol in (
        (4, socket.AF_INET, socket.IPPROTO_ICMP),
        (6, socket.AF_INET6, socket.IPPROTO_ICMPV6),
    ):
        asked = {
            index: str(probe.packet.address)
            for index, probe in enumerate(probes)
            if probe.packet.protocol == "icmp" and probe.packet.version == version
        }
        if asked:
            with socket.socket(family, socket.SOCK_RAW, protocol) as raw:
                yield from _echoed(raw, asked, version)


def _echoed(raw: socket.socket, asked: Mapping[int, str], version: int) -> set[int]:
    mark = int.from_bytes(os.urandom(2))
    found: set[int] = set()
    for _ in range(_TRIES):
        for index in asked.keys() - found:
            with suppress(OSError):  # no way there
                raw.sendto(_request(version, mark, index), (asked[index], 0))
        deadline = time.monotonic() + _TRY_S
        while found != asked.keys() and select.select([raw], [], [], max(0.0, deadline - time.monotonic()))[0]:
            data, sender = raw.recvfrom(2048)
            replied = _reply(data, version, mark)
            if replied is not None and asked.get(replied) == sender[0].partition("%")[0]:
                found.add(replied)
        if found == asked.keys():
            break
    return found


def _request(version: int, mark: int, index: int) -> bytes:
    head = struct.pack("!BBHHH", _ECHO[version][0], 0, 0, mark, index)
    return head if version == 6 else head[:2] + struct.pack("!H", _checksum(head)) + head[4:]


def _checksum(head: bytes) -> int:
    """RFC 1071; for ICMPv6 the kernel does it."""
    total = sum(int.from_bytes(head[at : at + 2]) for at in range(0, len(head), 2))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def _reply(data: bytes, version: int, mark: int) -> int | None:
    if version == 4:
        data = data[(data[0] & 0xF) * 4 :]
    if len(data) < 8 or data[0] != _ECHO[version][1]:
        return None
    its_mark, index = int.from_bytes(data[4:6]), int.from_bytes(data[6:8])
    return index if its_mark == mark else None


def _connected(probes: Sequence[Probe]) -> Iterator[int]:
    """Yield the numbers of those where somebody takes the connection, or refuses it: a refusal comes from there too."""
    with ExitStack() as opened:
        under_way: dict[int, tuple[int, socket.socket]] = {}
        for index, probe in enumerate(probes):
            packet = probe.packet
            if packet.protocol == "tcp":
                family = socket.AF_INET if packet.version == 4 else socket.AF_INET6
                tried = opened.enter_context(socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
                code = tried.connect_ex((str(packet.address), packet.port))
                if code == errno.EINPROGRESS:
                    under_way[tried.fileno()] = index, tried
                elif code in (0, errno.ECONNREFUSED):
                    yield index
        poll = select.poll()
        for descriptor in under_way:
            poll.register(descriptor, select.POLLOUT)
        deadline = time.monotonic() + _TRIES * _TRY_S  # TCP itself tries a second time after 1 s
        is_late = False
        while under_way and not is_late:
            left_s = deadline - time.monotonic()
            is_late = left_s <= 0  # what came while this thread had no turn is there now
            for descriptor, _ in poll.poll(max(0.0, left_s) * 1000):
                index, tried = under_way.pop(descriptor)
                poll.unregister(descriptor)
                if tried.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in (0, errno.ECONNREFUSED):
                    yield index
