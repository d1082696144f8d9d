"""What befalls a cluster, step by step, as lines of text: drawn from a seed, or kept in a file. Pure.

Any part of a history is a history: a step that makes no sense where it stands does nothing, so that one that failed can be shrunk.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Final

from msgspec import Struct

from tests.kv_servers.ensemble import NODES

HOSTS: Final = ("alpha", "beta", "gamma", "delta")

STEPS: Final = {
    "attach": "an attachment declared on one host",
    "detach": "an attachment no longer declared",
    "declare": "a network declared on one host",
    "undeclare": "a network no longer declared on one host",
    "cut": "two cut off from each other, hosts or store nodes",
    "deafen": "one that no longer hears another, one way only",
    "isolate": "a host or store node cut off from all others",
    "freeze": "a store node frozen (SIGSTOP)",
    "kill": "a store node killed (SIGKILL)",
    "crash": "all store nodes killed at once, and started again",
    "repair": "all cuts mended, all store nodes there again",
    "backup": "the store's data kept",
    "restore": "the store's data as they were at the last backup",
    "empty": "a store come back without its data",
    "clock": "the clock of a host set forward or back",
    "murder": "a watcher killed (SIGKILL)",
    "stop": "a watcher ended in order (SIGTERM)",
    "pause": "a watcher frozen (SIGSTOP)",
    "watch": "a watcher started, or thawed",
    "lose": "a host lost, its kernel with it",
    "return": "a lost host back with its disk",
    "reborn": "a lost host back with an empty disk",
    "forget": "a lost host taken out (`node rm`)",
    "look": "seconds of looks at what must never be otherwise",
    "settle": "all mended, and looked at as a whole",
}
"""Kinds of steps, and what each is."""

CONTESTED: Final = "10.0.9.200"
"""An address that several hosts declare for attachments of theirs."""

NAMES: Final = tuple(f"d{number}" for number in range(6))


class Step(Struct, frozen=True):
    """One line: what it is, and whom it befalls."""

    kind: str
    arguments: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return " ".join((self.kind, *self.arguments))


class History(Struct, frozen=True):
    """provider: of the store. hosts: all of them begin with two attachments each, and are watched."""

    provider: str
    hosts: tuple[str, ...]
    steps: tuple[Step, ...]

    @property
    def text(self) -> str:
        head = (f"store {self.provider}", f"hosts {' '.join(self.hosts)}")
        return "\n".join((*head, *(step.text for step in self.steps), ""))

    def without(self, first: int, count: int) -> History:
        return History(self.provider, self.hosts, self.steps[:first] + self.steps[first + count :])


def read_history(text: str) -> History:
    """Read what `History.text` gives, empty lines and comments left out. Raises ValueError."""
    lines = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    (_, provider), (_, *hosts) = lines[:2]
    steps = tuple(Step(kind, tuple(arguments)) for kind, *arguments in lines[2:])
    unknown = {step.kind for step in steps} - STEPS.keys()
    if unknown:
        raise ValueError(f"no such steps: {', '.join(sorted(unknown))}")
    return History(provider, tuple(hosts), steps)


def drawn_history(provider: str, seed: int, *, hosts: int = len(HOSTS), episodes: int = 3) -> History:
    """Draw a history; the same seed gives the same one."""
    dice = random.Random(f"{provider} {seed}")
    drawing = _Drawing(dice, HOSTS[:hosts], long_s=22.0 if provider == "consul" else 7.0)
    return History(provider, HOSTS[:hosts], tuple(drawing.episodes(episodes)))


class _Drawing:
    """Keeps in mind what was drawn, so that most steps make sense. long_s: longer than a sign of life may be missed."""

    def __init__(self, dice: random.Random, hosts: tuple[str, ...], long_s: float) -> None:
        self._dice = dice
        self._hosts = hosts
        self._long_s = long_s
        self._attached: dict[str, str] = {}
        self._lost = ""
        self._faults: dict[Callable[[], Iterator[Step]], int] = {
            self._cut: 4,
            self._isolate: 4,
            self._node_fault: 5,
            self._crash: 1,
            self._other_data: 2,
            self._clock: 2,
            self._watcher_fault: 4,
            self._host_loss: 3,
            self._race: 3,
        }

    def episodes(self, count: int) -> Iterator[Step]:
        for _ in range(count):
            yield from self._edit()
            yield from self._edit()
            yield Step("settle")
            if self._dice.random() < 0.4:
                yield Step("backup")
            for _ in range(self._dice.randint(2, 4)):
                fault = self._dice.choices(tuple(self._faults), tuple(self._faults.values()))[0]
                yield from fault()
                for _ in range(self._dice.randint(0, 2)):
                    yield from self._edit()
                yield from self._look()
                if self._dice.random() < 0.2:
                    yield Step("repair")
            yield Step("settle")

    def _host(self) -> str:
        return self._dice.choice([host for host in self._hosts if host != self._lost])

    def _edit(self) -> Iterator[Step]:
        match self._dice.randrange(8):
            case 0:
                yield Step("undeclare", (self._host(), "auto"))
            case 1 | 2:
                yield Step("declare", (self._host(), "auto"))
            case 3 if self._attached:  # to another host
                name = self._dice.choice(sorted(self._attached))
                yield from self._dice.sample((self._detach(name), self._attach(name)), 2)
            case 4 | 5 if len(self._attached) > 1:
                yield self._detach(self._dice.choice(sorted(self._attached)))
            case 6:
                host = self._host()
                yield Step("attach", (host, f"c-{host}", "net", CONTESTED))
            case _ if len(self._attached) < 4:
                yield self._attach(self._dice.choice([name for name in NAMES if name not in self._attached]))

    def _race(self) -> Iterator[Step]:
        """Have hosts that were frozen meanwhile find each other's wishes, or not, at one moment."""
        racing = self._dice.sample([host for host in self._hosts if host != self._lost], 2)
        yield from (Step("pause", (host,)) for host in racing)
        for host in racing:
            yield Step("attach", (host, f"c-{host}", "net", CONTESTED))
            yield Step("attach", (host, f"r-{host}", "net,auto"))
            yield Step(self._dice.choice(("declare", "undeclare")), (host, "auto"))
        yield from (Step("watch", (host,)) for host in racing)

    def _attach(self, name: str) -> Step:
        self._attached[name] = host = self._host()
        return Step("attach", (host, name, self._dice.choice(("net", "net,auto", "auto"))))

    def _detach(self, name: str) -> Step:
        return Step("detach", (self._attached.pop(name), name))

    def _look(self) -> Iterator[Step]:
        seconds = self._dice.choice((0.3, 0.3, 1, 1, 2, 4, self._long_s))
        yield Step("look", (f"{seconds:g}",))

    def _cut(self) -> Iterator[Step]:
        pair = self._dice.sample((*self._hosts, *NODES), 2)
        yield Step(self._dice.choice(("cut", "deafen")), tuple(pair))

    def _isolate(self) -> Iterator[Step]:
        yield Step("isolate", (self._dice.choice((*self._hosts, *NODES)),))

    def _node_fault(self) -> Iterator[Step]:
        for node in self._dice.sample(NODES, self._dice.choice((1, 1, 1, 2, 3))):
            yield Step(self._dice.choice(("freeze", "kill")), (node,))

    def _crash(self) -> Iterator[Step]:
        yield Step("crash")

    def _other_data(self) -> Iterator[Step]:
        yield Step(self._dice.choice(("restore", "restore", "empty")))

    def _clock(self) -> Iterator[Step]:
        yield Step("clock", (self._host(), str(self._dice.choice((-600, 600, -3000, 3000, -200000, 200000)))))

    def _watcher_fault(self) -> Iterator[Step]:
        host = self._host()
        yield Step(self._dice.choice(("murder", "murder", "stop", "pause")), (host,))
        yield from self._look()
        if self._dice.random() < 0.7:
            yield Step("watch", (host,))

    def _host_loss(self) -> Iterator[Step]:
        if not self._lost:
            self._lost = self._host()
            yield Step("lose", (self._lost,))
            return
        host, self._lost = self._lost, ""
        if self._dice.random() < 0.4:
            yield Step("forget", (host,))
        yield Step(self._dice.choice(("return", "return", "reborn")), (host,))
