"""Who is there, who is not, and what that makes of the host that asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from reconciler.cluster.aliveness import is_reaper, seconds_since
from reconciler.cluster.question import ClusterQuestion, RecordReading
from reconciler.cluster.reading import Info
from reconciler.model.cluster import ClusterNode

_FUTURE_MAX_S: Final = 3600
"""By how much clocks of hosts may differ; what was missed later than that has not been missed yet."""


class Hosts:
    """What the hosts' own records say.

    nodes: by name. vteps: where the others are reached that are alive. has_missed: it is told since when some host is missed.
    is_impostor: another host lives under our name. is_reaper: this one tidies up. expired: hosts whose records are ours to delete.
    """

    def __init__(self, question: ClusterQuestion, readings: Sequence[RecordReading]) -> None:
        self._question = question
        self.readings = readings
        self.has_missed = any(each.path.endswith("/left") for each in readings)
        left = self._left()
        self.nodes = self._nodes(left)
        self.vteps = {
            name: node.address for name, node in self.nodes.items() if node.is_alive and name != question.host
        }
        me = self.nodes.get(question.host)
        self.is_impostor = me is not None and me.is_alive and me.instance != question.instance
        self.is_reaper = not self.is_impostor and is_reaper(self.nodes, question.host)
        self.expired = self._expired(left)

    def is_mine(self, host: str) -> bool:
        """Return whether the records of `host` are those of the host that asks, or fell to it."""
        return host in self.expired or (host == self._question.host and not self.is_impostor)

    def _left(self) -> Mapping[str, str]:
        """Return when each host was missed first. What is yet to come counts as not missed."""
        found = {}
        for host, at in self._of_kind("left"):
            if isinstance(at, str) and seconds_since(at, self._question.now) > -_FUTURE_MAX_S:
                found[host] = at
        return found

    def _nodes(self, left: Mapping[str, str]) -> Mapping[str, ClusterNode]:
        lives = {host: life for host, life in self._of_kind("life") if isinstance(life, str)}
        nodes = {}
        for host, info in self._of_kind("info"):
            if isinstance(info, Info):
                nodes[host] = ClusterNode(
                    name=host,
                    address=info.address,
                    instance=lives.get(host, info.instance),
                    is_watched=info.is_watched,
                    format=info.format,
                    is_alive=host in lives or not info.is_watched,
                    left=left.get(host, ""),
                )
        return nodes

    def _expired(self, left: Mapping[str, str]) -> frozenset[str]:
        """Return the hosts that were dead for longer than the grace period."""
        if not self.is_reaper:
            return frozenset()
        return frozenset(
            host
            for host, at in left.items()
            if host != self._question.host
            and (host not in self.nodes or not self.nodes[host].is_alive)
            and seconds_since(at, self._question.now) >= self._question.grace_s
        )

    def _of_kind(self, kind: str) -> Iterator[tuple[str, object]]:
        end = f"/{kind}"
        for reading in self.readings:
            if reading.path.endswith(end) and reading.content != "":
                yield reading.host, reading.content
