"""The plugin of examples/plugin in a process of its own, in the namespace that plays the host."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.machine import Machine
from tests.waiting import eventually, exit_code_of

PROGRAM = Path(__file__).parent.parent.parent / "examples" / "plugin" / "plugin.py"
SOCKETS = Path("/run/docker/plugins")


@dataclass(slots=True, kw_only=True)
class ReferencePlugin:
    """log: the calls, of all processes one after the other. sockets: the folder of its socket."""

    machine: Machine
    ns: str
    log: Path
    name: str = "reference"
    scope: str = "local"
    sockets: Path = SOCKETS
    _process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def socket(self) -> Path:
        return self.sockets / f"{self.name}.sock"

    def start(self) -> None:
        command = ["ip", "netns", "exec", self.ns, sys.executable, str(PROGRAM), "--socket", str(self.socket)]
        self.socket.unlink(missing_ok=True)
        command += ["--state", str(self.log.with_suffix(".state")), "--scope", self.scope]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stdin=subprocess.DEVNULL)
        assert eventually(self.socket.exists)

    def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            exit_code_of(self._process)
            self._process = None

    def calls(self) -> list[tuple[str, str]]:
        """Give method and short id of each call, in order."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [(method, id_) for method, _, id_ in (line.partition(" ") for line in lines)]

    def counted_twice(self) -> list[str]:
        """Name whatever was created again without having been deleted in between."""
        alive: defaultdict[str, int] = defaultdict(int)
        found = []
        for method, id_ in self.calls():
            if method in ("CreateNetwork", "CreateEndpoint"):
                if alive[id_]:
                    found.append(f"{method} {id_}")
                alive[id_] = 1
            elif method in ("DeleteNetwork", "DeleteEndpoint"):
                alive[id_] = 0
        return found


@contextlib.contextmanager
def reference_plugin(
    machine: Machine,
    ns: str,
    log: Path,
    name: str = "reference",
    *,
    scope: str = "local",
    sockets: Path = SOCKETS,
) -> Iterator[ReferencePlugin]:
    """Run it meanwhile."""
    made = ReferencePlugin(machine=machine, ns=ns, log=log, name=name, scope=scope, sockets=sockets)
    made.start()
    try:
        yield made
    finally:
        made.stop()
        made.socket.unlink(missing_ok=True)
