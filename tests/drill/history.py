"""What befalls a cluster, step by step, as lines of text: drawn from a seed, or kept in a file. Pure.

Any part of a history is a history: a step that makes no sense where it stands does nothing, so that one that failed can be shrunk.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from tests.kv_servers.ensemble import NODES

HOSTS: Final = ("alpha", "beta", "gamma", "delta")

STEPS: Final = {
    "attach": "an attachment declared on one host",
    "detach": "an attachment no longer declared",
    "declare": "a network declared on one host",
    "join": "a network joined on one host as another declares it (`external: true`)",
    "undeclare": "a network no longer declared or joined on one host",
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
    """provider: of the store. hosts: all of them begin with two attachments each, and are watched. nodes: of the store."""

    provider: str
    hosts: tuple[str, ...]
    steps: tuple[Step, ...]
    nodes: tuple[str, ...] = NODES

    @property
    def text(self) -> str:
        store = (self.provider, *(self.nodes if self.nodes != NODES else ()))
        head = (f"store {' '.join(store)}", f"hosts {' '.join(self.hosts)}")
        return "\n".join((*head, *(step.text for step in self.steps), ""))

    def without(self, first: int, count: int) -> History:
        return replace(self, steps=self.steps[:first] + self.steps[first + count :])


def read_history(text: str) -> History:
    """Read what `History.text` gives, empty lines and comments left out. Raises ValueError."""
    lines = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    (_, provider, *nodes), (_, *hosts) = lines[:2]
    steps = tuple(Step(kind, tuple(arguments)) for kind, *arguments in lines[2:])
    unknown = {step.kind for step in steps} - STEPS.keys()
    if unknown:
        raise ValueError(f"no such steps: {', '.join(sorted(unknown))}")
    return History(provider, tuple(hosts), steps, tuple(nodes) or NODES)


def drawn_history(provider: str, seed: int) -> History:
    """Draw a history; the same seed gives the same one.

    Those of a round, which begins with a seed that `SEEDS_OF_ROUND` divides, share what may befall one, so that each kind comes up.
    The last of them has a store of one server, which loses all data first.
    """
    round_, place = divmod(seed, SEEDS_OF_ROUND)
    is_alone = place == SEEDS_OF_ROUND - 1
    nodes = NODES[:1] if is_alone else NODES
    drawing = _Drawing(provider, nodes, random.Random(f"{provider} {seed}"))
    losses, faults = list(_LOSSES), list(_FAULTS)
    for deck in (losses, faults):
        random.Random(f"{provider} {round_}").shuffle(deck)
    own = (*(("empty",) if is_alone else ()), *losses[place::SEEDS_OF_ROUND])
    return History(provider, HOSTS, tuple(drawing.episodes(own, faults[place::SEEDS_OF_ROUND])), nodes)


SEEDS_OF_ROUND: Final = 4

_LOSSES: Final = (
    *("lose return", "lose return", "lose reborn", "lose forget return", "lose forget reborn", "lose"),
    *("restore", "restore", "empty", "", "", ""),
)
"""What befalls a host or the store in an episode of a round, besides others: with each history three of them."""

_FAULTS: Final = (
    *(
        "cut",
        "cut",
        "deafen",
        "deafen",
        "deafen",
        "isolate",
        "isolate",
        "isolate",
        "isolate",
        "isolate",
        "crash",
        "crash",
    ),
    *("freeze", "freeze", "freeze", "freeze", "kill", "kill", "kill", "kill", "clock", "clock", "clock"),
    *("murder", "murder", "murder", "stop", "stop", "pause", "pause", "race", "race", "race", "race", "race", "empty"),
)


class _Drawing:
    """Keeps in mind what was drawn, so that most steps make sense. long_s: longer than a sign of life may be missed."""

    def __init__(self, provider: str, nodes: tuple[str, ...], dice: random.Random) -> None:
        self._dice = dice
        self._hosts = HOSTS
        self._nodes = nodes
        self._long_s = 22.0 if provider == "consul" else 7.0
        self._attached: dict[str, str] = {}
        self._lost = ""

    def episodes(self, losses: Sequence[str], faults: Sequence[str]) -> Iterator[Step]:
        """Yield as many episodes as there are losses, all in order when one begins; the faults are spread over them."""
        for number, loss in enumerate(losses):
            yield from self._edit()
            yield from self._edit()
            yield Step("settle")
            own = faults[number :: len(losses)]
            yield from self._begin(loss)
            ends = self._dice.randint(1, len(own))
            for place, fault in enumerate(own, 1):
                yield from self._fault(fault)
                for _ in range(self._dice.randint(0, 2)):
                    yield from self._edit()
                if place == ends:
                    yield from self._end(loss)
                yield from self._look()
                if self._dice.random() < 0.2:
                    yield Step("repair")
            yield Step("settle")

    def _begin(self, loss: str) -> Iterator[Step]:
        """Yield the beginning of a loss, which comes when all has settled: who is not missed is not lost."""
        match loss.split():
            case ["restore"]:
                yield Step("backup")
            case ["empty"]:
                yield from (Step("empty"), Step("settle"))
            case ["lose", *others]:
                if not self._lost:
                    self._lost = self._host()
                    yield Step("lose", (self._lost,))
                    yield from self._look()
                if "forget" in others:  # refused before it is missed
                    yield from (Step("look", (f"{self._long_s:g}",)), Step("forget", (self._lost,)))

    def _end(self, loss: str) -> Iterator[Step]:
        kind = loss.rpartition(" ")[2]
        if kind == "restore":
            yield Step(kind)
        if kind in ("return", "reborn"):
            host, self._lost = self._lost, ""
            yield Step(kind, (host,))

    def _fault(self, kind: str) -> Iterator[Step]:
        match kind:
            case "cut" | "deafen":
                yield Step(kind, tuple(self._dice.sample((*self._hosts, *self._nodes), 2)))
            case "isolate":
                yield Step(kind, (self._dice.choice((*self._hosts, *self._nodes)),))
            case "freeze" | "kill":
                for node in self._dice.sample(self._nodes, min(len(self._nodes), self._dice.choice((1, 1, 1, 2, 3)))):
                    yield Step(kind, (node,))
            case "clock":
                yield Step(kind, (self._host(), str(self._dice.choice((-600, 600, -3000, 3000, -200000, 200000)))))
            case "murder" | "stop" | "pause":
                host = self._host()
                yield Step(kind, (host,))
                yield from self._look()
                if self._dice.random() < 0.7:
                    yield Step("watch", (host,))
            case "race":
                yield from self._race()
            case _:
                yield Step(kind)

    def _host(self) -> str:
        return self._dice.choice([host for host in self._hosts if host != self._lost])

    def _edit(self) -> Iterator[Step]:
        match self._dice.randrange(9):
            case 0:
                yield Step("undeclare", (self._host(), "auto"))
            case 1 | 2:
                yield Step("declare", (self._host(), "auto"))
            case 8:
                yield Step("join", (self._host(), "auto"))
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
            yield Step(self._dice.choice(("declare", "undeclare", "undeclare", "join")), (host, "auto"))
        yield from (Step("watch", (host,)) for host in racing)

    def _attach(self, name: str) -> Step:
        self._attached[name] = host = self._host()
        return Step("attach", (host, name, self._dice.choice(("net", "net,auto", "auto"))))

    def _detach(self, name: str) -> Step:
        return Step("detach", (self._attached.pop(name), name))

    def _look(self) -> Iterator[Step]:
        seconds = self._dice.choice((0.3, 0.3, 1, 1, 2, 4, self._long_s))
        yield Step("look", (f"{seconds:g}",))
