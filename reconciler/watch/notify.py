"""Tell the service manager how the watcher is: one datagram per message to $NOTIFY_SOCKET, as sd_notify(3) has it.

Without that variable, or when nobody takes the message, nothing happens: a watcher never fails for want of a service manager.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping
from typing import Final

from reconciler.errors import ReconcilerError
from reconciler.model.plan import Operation
from reconciler.model.report import Report
from reconciler.model.words import counted
from reconciler.status.verdict import unsettled
from reconciler.watch.listener import PassListener

log = logging.getLogger(__name__)

_STATUS_MAX: Final = 500
_ADDRESS_MAX: Final = 107
"""sun_path less the terminating zero (unix(7))."""

_EXTENSION_S: Final = 30.0
"""How much time the manager is asked for while a long pass goes on; asked for again long before it is over."""

_INTERVAL_S: Final = 5.0
"""At most so often is progress told within one pass."""


class ServiceNotifier:
    """Sends the messages of sd_notify(3). Nothing here raises or waits.

    address: a path, or with a leading `@` an abstract one; "" for nobody. watchdog_s: the manager's deadline, 0 without one.
    """

    def __init__(self, address: str = "", watchdog_s: float = 0.0) -> None:
        self._address = b"\0" + os.fsencode(address[1:]) if address.startswith("@") else os.fsencode(address)
        self._interval_s = watchdog_s / 2  # half of it, as sd_watchdog_enabled(3) recommends
        self._fed_s = float("-inf")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> ServiceNotifier:
        """Read NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. What is malformed, or another process's, counts as not set."""
        address = environment.get("NOTIFY_SOCKET", "")
        if address[:1] not in ("/", "@") or len(os.fsencode(address)) > _ADDRESS_MAX:
            return cls()
        microseconds, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
        is_ours = pid in ("", str(os.getpid()))
        watchdog_s = int(microseconds) / 1e6 if is_ours and microseconds.isdecimal() else 0.0
        return cls(address, watchdog_s)

    def ready(self, status: str = "") -> None:
        """Say that the start, or the reload, is complete."""
        self._send({"READY": "1", "STATUS": status})

    def status(self, text: str) -> None:
        """Show one line in `systemctl status`."""
        self._send({"STATUS": text})

    def watchdog(self) -> None:
        """Prove progress. Call as often as there is some: what would come too soon after the last one is not sent."""
        now = time.monotonic()
        if self._interval_s and now - self._fed_s >= self._interval_s:
            self._fed_s = now
            self._send({"WATCHDOG": "1"})

    def reloading(self) -> None:
        """Say that a reload began; `ready` must follow. The manager tells this reload from an earlier one by the time."""
        self._send({"RELOADING": "1", "MONOTONIC_USEC": str(time.monotonic_ns() // 1000)})

    def stopping(self) -> None:
        self._send({"STOPPING": "1"})

    def extend(self, timeout_s: float) -> None:
        """Ask for so much time from now for the start, reload or stop that is under way."""
        self._send({"EXTEND_TIMEOUT_USEC": str(int(timeout_s * 1e6))})

    def close(self) -> None:
        self._socket.close()

    def _send(self, assignments: Mapping[str, str]) -> None:
        if not self._address:
            return
        lines = (f"{name}={_one_line(value)}\n" for name, value in assignments.items() if value)
        try:
            self._socket.sendto("".join(lines).encode(errors="replace"), self._address)
        except OSError as error:
            log.debug("the service manager does not listen: %s", error)


def _one_line(text: str) -> str:
    """A line break would end the assignment and begin another."""
    return " ".join(text.split())[:_STATUS_MAX]


class ServiceListener(PassListener):
    """Translates what the watcher does for the service manager. `progress` is for its passes."""

    def __init__(self, notifier: ServiceNotifier) -> None:
        self._notifier = notifier
        self._is_started = self._is_reloading = False
        self._said = ""
        self._progress_due_s = 0.0

    def passed(self, report: Report, elapsed_s: float, *, is_drift: bool) -> None:
        """Say how the host is; the first pass completes the start, the first after SIGHUP the reload."""
        self._is_reloading |= not self._is_started
        self._is_started = True
        self._tell(status_line(report))

    def failed(self, error: ReconcilerError) -> None:
        """Say why. A start goes on until a pass can be made, or the manager's patience ends; a reload is over."""
        self._tell(f"no pass was possible: {error}")

    def beat(self) -> None:
        self._notifier.watchdog()

    def reloading(self) -> None:
        self._is_reloading = True
        self._notifier.reloading()

    def stopping(self) -> None:
        self._notifier.stopping()

    def progress(self, done: int, total: int, operation: Operation) -> None:
        """Keep the manager patient during a long pass: every operation that ended is progress."""
        now = time.monotonic()
        if now < self._progress_due_s:
            return
        self._progress_due_s = now + _INTERVAL_S
        self._notifier.watchdog()
        if self._is_reloading or not self._is_started:
            self._notifier.extend(_EXTENSION_S)
        self._said = f"{done} of {total}: {operation.describe()}"
        self._notifier.status(self._said)

    def _tell(self, line: str) -> None:
        if self._is_reloading and self._is_started:
            self._is_reloading = False
            self._notifier.ready(line)
        elif line != self._said:
            self._notifier.status(line)
        self._said = line


def status_line(report: Report) -> str:
    """Sum up how the host is, for `systemctl status`."""
    count, attachments = len(report.desired.networks), len(report.desired.members)
    parts = [f"{count} networks, {attachments} attachments"]
    issues = unsettled(report)
    if report.spec_faults:
        parts.append(f"{counted(len(report.spec_faults), 'fault')} in the specs, the first: {report.spec_faults[0]}")
    if issues:
        parts.append(f"{len(issues)} not as declared, the first: {issues[0].unit}: {issues[0].message}")
    return "; ".join(parts) if len(parts) > 1 else f"{parts[0]}, all as declared"
