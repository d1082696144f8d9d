"""A store of three servers or one, each in a network namespace: killed, frozen, cut off, brought back as it was or empty."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.model.objects import IPAddress
from tests.kv_servers.servers import STARTERS, Server
from tests.machine import Machine

NODES = ("s1", "s2", "s3")


@dataclass(kw_only=True)
class Ensemble:
    """Servers by the name of their namespace. frozen: those that are stopped in their tracks."""

    machine: Machine
    servers: Mapping[str, Server]
    frozen: set[str] = field(default_factory=set)

    @property
    def addresses(self) -> list[str]:
        return [server.address for server in self.servers.values()]

    @property
    def is_whole(self) -> bool:
        return not self.frozen and all(server.process is not None for server in self.servers.values())

    def start(self, *names: str) -> None:
        """Start those that do not run, all unless told. What they wait for, be it each other, is not waited for here."""
        for name in names or tuple(self.servers):
            if self.servers[name].process is None:
                with self.machine.inside(name):
                    self.servers[name].launch()

    def kill(self, *names: str) -> None:
        for name in names or tuple(self.servers):
            self.servers[name].stop()
            self.frozen.discard(name)

    def freeze(self, name: str) -> None:
        if self.servers[name].process is not None:
            self.servers[name].pause()
            self.frozen.add(name)

    def thaw(self) -> None:
        for name in self.frozen:
            self.servers[name].resume()
        self.frozen.clear()

    def back_up(self, folder: Path) -> None:
        """Keep what all have on disk; none may run."""
        for name, server in self.servers.items():
            shutil.rmtree(folder / name, ignore_errors=True)
            shutil.copytree(server.folder / "data", folder / name)

    def restore(self, folder: Path) -> None:
        """Give all what they had on disk then; none may run."""
        for name, server in self.servers.items():
            shutil.rmtree(server.folder / "data")
            shutil.copytree(folder / name, server.folder / "data")

    def empty(self) -> None:
        """Take all that was stored; none may run."""
        for server in self.servers.values():
            for entry in (server.folder / "data").iterdir():
                if entry.is_dir():
                    shutil.rmtree(entry)
                elif entry.name != "myid":
                    entry.unlink()


@contextmanager
def ensemble_of(
    machine: Machine, folder: Path, provider: str, addresses: Mapping[str, IPAddress], nodes: Sequence[str] = NODES
) -> Iterator[Ensemble]:
    """Start servers in namespaces that are there, called `nodes`; they end with the calling thread. addresses: theirs."""
    own = [str(addresses[name]) for name in nodes]
    peers = own if len(own) > 1 else []
    made = {
        name: STARTERS[provider](folder / name, address=address, peers=peers)
        for name, address in zip(nodes, own, strict=True)
    }
    ensemble = Ensemble(machine=machine, servers=made)
    with ExitStack() as ending:
        ending.callback(ensemble.kill)
        ensemble.start()
        yield ensemble
