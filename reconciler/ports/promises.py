"""The record of an attachment's host ports in the key-value store, at `ports/<attachment>`: ephemeral ones outlive a restart.

Ports that follow each other are one entry, so that the record of a range of ten thousand is as short as that of one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from typing import Final

from reconciler.model.desired import DesiredAttachment, PortBinding
from reconciler.model.objects import IPAddress, KvRecord
from reconciler.records.document import Misfit
from reconciler.records.faults import left_out
from reconciler.records.fields import Fields, checked_name

RECORD_MAX: Final = 256 * 1024
"""Characters of one record."""
_BINDINGS_MAX: Final = 1 << 18
_PORT_MAX: Final = 65535
_PROTOCOLS: Final = ("tcp", "udp", "sctp")
PORT_RECORDS: Final = "ports/"

_Run = tuple[str, IPAddress, int, int, int]
"""Protocol, host address, first and last host port, first target."""

Promised = Mapping[str, tuple[PortBinding, ...]]
"""What each attachment was given, by its name."""


def ports_record(attachment: DesiredAttachment) -> Iterator[KvRecord]:
    """Yield the record of an attachment's host ports; none for one that has no host port."""
    bindings = [binding for endpoint in attachment.endpoints for binding in endpoint.ports if binding.host_port]
    if bindings:
        rows = [[protocol, str(ip), first, last, target] for protocol, ip, first, last, target in _runs(bindings)]
        value = json.dumps({"ports": rows}, separators=(",", ":"))
        yield KvRecord(unit=attachment.unit, path=f"{PORT_RECORDS}{attachment.name}", value=value)


def _runs(bindings: Iterable[PortBinding]) -> Iterator[_Run]:
    run: _Run | None = None
    for b in bindings:
        if run is not None:
            protocol, ip, first, last, target = run
            if (b.protocol, b.host_ip, b.host_port, b.target) == (protocol, ip, last + 1, target + last + 1 - first):
                run = (protocol, ip, first, b.host_port, target)
                continue
            yield run
        run = (b.protocol, b.host_ip, b.host_port, b.host_port, b.target)
    if run is not None:
        yield run


def decode_ports(records: Mapping[str, str]) -> tuple[Promised, tuple[str, ...]]:
    """Read the records of ports among `records` (path to text); never raises. Gives also one line for each that was left out."""
    promised: dict[str, tuple[PortBinding, ...]] = {}
    faults: list[tuple[str, str]] = []
    for path in sorted(records):
        if path.startswith(PORT_RECORDS):
            try:
                promised[checked_name(path.removeprefix(PORT_RECORDS))] = tuple(_bindings(records[path]))
            except Misfit as misfit:
                faults.append((path, str(misfit)))
    return promised, left_out(faults)


def _bindings(text: str) -> Iterator[PortBinding]:
    """Raises Misfit for what is not as `ports_record` writes it."""
    left = _BINDINGS_MAX
    for row in Fields.of(text, RECORD_MAX).items("ports", _BINDINGS_MAX):
        protocol, ip, first, last, target = _run(row)
        left -= last - first + 1
        if left < 0:
            raise Misfit(f"more than {_BINDINGS_MAX} ports")
        for offset in range(last - first + 1):
            yield PortBinding(protocol=protocol, host_ip=ip, host_port=first + offset, target=target + offset)


def _run(row: object) -> _Run:
    match row:
        case [str(protocol), str(host_ip), int(first), int(last), int(target)]:
            is_number = bool not in (type(first), type(last), type(target))
            is_in_bounds = 0 < first <= last <= _PORT_MAX and 0 < target <= _PORT_MAX - (last - first)
            if protocol in _PROTOCOLS and is_number and is_in_bounds:
                return protocol, _host_ip(host_ip), first, last, target
    raise Misfit("ports holds what is not a run of ports")


def _host_ip(text: str) -> IPAddress:
    try:
        return ip_address(text)
    except ValueError:
        raise Misfit("ports holds what is not an address") from None
