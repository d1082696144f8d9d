"""When the watcher runs a pass, told by scripted sources and a clock that only moves while the loop waits or works."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from reconciler.errors import KernelError, LockHeld, ReconcilerError, TrialPending
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.report import Report
from reconciler.watch.agenda import NEVER_S
from reconciler.watch.listener import PassListener
from reconciler.watch.loop import RESYNC_S, Loop, Passed
from reconciler.watch.source import CLEAN, Dirty, EventSource, Watched
from tests.fakes.reports import made, report

WEB, DB = NsRef("netns:web"), NsRef("netns:db")
END = Dirty(is_end=True)
FIRST = Dirty(is_specs=True, is_everything=True)
EVERYTHING = Dirty(is_everything=True)
SPECS = Dirty(is_specs=True)
CLUSTER = Dirty(is_cluster=True)


def in_ns(*namespaces: NsRef) -> Dirty:
    return Dirty(namespaces=frozenset(namespaces))


@dataclass
class Script(EventSource):
    """Has news at these times. armed: what arming tells, each time something else. mute, deaf: how telling and arming fail."""

    news: dict[float, Dirty] = field(default_factory=dict)
    mute: list[Exception] = field(default_factory=list)
    deaf: list[Exception] = field(default_factory=list)
    armed: Iterator[Dirty] = field(default_factory=lambda: iter(()))
    watched: list[Watched] = field(default_factory=list)

    def fileno(self) -> int:
        raise AssertionError("nobody waits in the kernel here")

    def drain(self) -> Dirty:
        found = self.news.pop(min(self.news))
        if self.mute:
            raise self.mute.pop()
        return found

    def arm(self, watched: Watched) -> Dirty:
        if self.deaf:
            raise self.deaf.pop()
        self.watched.append(watched)
        return next(self.armed, CLEAN)

    def close(self) -> None: ...


Result = Callable[[Dirty], Passed]


def passed(*, has_outcomes: bool = False, **others: object) -> Passed:
    return Passed(report=report(*([made()] if has_outcomes else [])), watched=Watched(), **others)  # type: ignore[arg-type]


@dataclass
class Scripted(PassListener):
    """A host, what is told of it, and its clock. result: what each pass gives, or raises; takes_s: how long it takes."""

    news: dict[float, Dirty]
    result: Result = lambda _: passed()
    takes_s: float = 0.0
    now_s: float = 0.0
    is_sign_awaited: bool = False
    found: set[NsRef] = field(default_factory=set)
    glances: dict[float, Dirty] = field(default_factory=dict)
    passes: list[tuple[float, Dirty]] = field(default_factory=list)
    looked: list[float] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.source, quiet = Script(self.news), Script()
        self.loop = Loop(self, [self.source, quiet], [self], self.wait, lambda: self.now_s)

    def wait(self, timeout_s: float) -> Iterable[EventSource]:
        at_s = min(self.source.news, default=NEVER_S)
        if at_s > self.now_s + timeout_s:
            self.now_s += timeout_s
            return ()
        self.now_s = max(self.now_s, at_s)
        return (self.source,)

    def run(self, dirty: Dirty) -> Passed:
        self.passes.append((round(self.now_s, 2), dirty))
        self.now_s += self.takes_s
        return self.result(dirty)

    def glance(self) -> Dirty:
        self.looked.append(self.now_s)
        due = [at for at in self.glances if at <= self.now_s]
        return self.glances.pop(min(due)) if due else CLEAN

    def found_again(self) -> Dirty:
        return Dirty(namespaces=frozenset(self.found))

    def passed(self, report: Report, elapsed_s: float, *, is_drift: bool) -> None:
        self.told.append(f"passed {elapsed_s}")

    def failed(self, error: ReconcilerError) -> None:
        self.told.append(str(error))

    def reloading(self) -> None:
        self.told.append("reloading")

    def stopping(self) -> None:
        self.told.append("stopping")

    def till(self, end_s: float) -> list[tuple[float, Dirty]]:
        """Run until then; give the passes after the first, which is at 0 for everything."""
        self.source.news[end_s] = END
        self.loop.run()
        assert self.passes[0] == (0.0, FIRST)
        assert self.told[-1] == "stopping"
        return self.passes[1:]


def raising(*errors: ReconcilerError) -> Result:
    """Fail with each, then pass."""
    left = iter(errors)

    def result(_: Dirty) -> Passed:
        for error in left:
            raise error
        return passed()

    return result


def test_quiet_host_is_looked_at_as_a_whole_now_and_then_and_heard_of_in_between() -> None:
    host = Scripted({})

    assert host.till(2.5 * RESYNC_S) == [(RESYNC_S, FIRST), (2 * RESYNC_S, FIRST)]
    assert max(after - before for before, after in pairwise(host.looked)) <= 5.01


def test_news_that_follow_each_other_are_served_by_one_pass() -> None:
    host = Scripted({1.0: in_ns(WEB), 1.003: in_ns(DB), 1.006: SPECS, 2.0: in_ns(WEB)})

    assert host.till(3.0) == [(1.01, in_ns(WEB, DB) | SPECS), (2.0, in_ns(WEB))]


def test_news_that_never_end_are_served_all_the_same() -> None:
    host = Scripted({1.0 + 0.002 * number: in_ns(WEB) for number in range(1000)}, lambda _: passed(has_outcomes=True))

    assert [at for at, _ in host.till(1.5)][:3] == [1.05, 1.11, 1.16]


def test_what_arming_tells_is_served_at_once() -> None:
    host = Scripted({})
    host.source.armed = iter([in_ns(WEB)])

    assert host.till(1.0) == [(0.0, in_ns(WEB))]
    assert len(host.source.watched) == 2, "each pass ends with arming"


def test_what_may_work_next_time_is_tried_again_later_each_time() -> None:
    host = Scripted({}, lambda _: passed(is_retryable=True))

    tries = host.till(300.0)

    assert {dirty for _, dirty in tries} == {EVERYTHING}
    assert [at for at, _ in tries] == [0.2, 0.6, 1.4, 3.0, 6.2, 12.6, 25.4, 51.0, 102.2, 162.2, 222.2, 282.2]


def test_success_makes_the_next_failure_retried_soon() -> None:
    is_ill = iter([True, True, False, True, False])
    host = Scripted({10.0: in_ns(WEB)}, lambda _: passed(is_retryable=next(is_ill)))

    assert [at for at, _ in host.till(20.0)] == [0.2, 0.6, 10.0, 10.2]


def test_pass_for_another_reason_that_works_makes_the_retry_needless() -> None:
    is_ill = iter([True, True, True, False])
    host = Scripted({1.0: in_ns(WEB)}, lambda _: passed(is_retryable=next(is_ill)))

    assert [at for at, _ in host.till(20.0)] == [0.2, 0.6, 1.0]


def test_pass_that_could_not_be_made_is_tried_again_with_the_specs_and_told() -> None:
    host = Scripted({10.0: SPECS}, raising(KernelError(12, "observe"), KernelError(12, "observe")))

    assert host.till(20.0) == [(0.2, FIRST), (0.6, FIRST), (10.0, SPECS)]
    assert host.told[0].startswith("observe")
    assert host.told[2:4] == ["passed 0.0", "passed 0.0"]


NO_MEMORY = [KernelError(12, "ask"), OSError(12, "no memory"), MemoryError()]


@pytest.mark.parametrize("error", NO_MEMORY)
def test_source_that_cannot_be_armed_may_have_missed_all(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    host = Scripted({3.0: in_ns(WEB)})
    host.source.deaf = [error, error]

    assert host.till(9.0) == [(0.2, FIRST), (0.6, FIRST), (3.0, in_ns(WEB))]
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


@pytest.mark.parametrize("error", NO_MEMORY)
def test_source_that_cannot_tell_its_news_may_have_missed_all(error: Exception) -> None:
    host = Scripted({1.0: in_ns(DB), 2.0: in_ns(WEB)})
    host.source.mute = [error]

    assert host.till(9.0) == [(1.2, FIRST), (2.0, in_ns(WEB))]


def test_what_may_have_been_missed_is_looked_at_whatever_passes_come_before() -> None:
    host = Scripted({0.05: in_ns(WEB), 0.1: in_ns(DB)})
    host.source.deaf = [KernelError(12, "ask")]

    assert host.till(9.0) == [(0.05, in_ns(WEB)), (0.1, in_ns(DB)), (0.2, FIRST)]


@pytest.mark.parametrize(("error", "wait_s"), [(LockHeld("busy"), 0.2), (TrialPending("on trial"), 1.0)])
def test_who_holds_the_host_is_asked_again_at_one_pace_and_is_no_failure(error: LockHeld, wait_s: float) -> None:
    host = Scripted({}, raising(error, error, error))

    assert host.till(10.0) == [(pytest.approx(wait_s * number), FIRST) for number in (1, 2, 3)]
    assert host.told == ["passed 0.0", "stopping"]


def test_sandbox_that_is_missing_is_looked_for_every_second_and_only_its_coming_makes_a_pass() -> None:
    def come(dirty: Dirty) -> Passed:
        host.found = {WEB} if dirty.namespaces == {DB} else set()
        return passed(has_missing=not host.found and WEB not in dirty.namespaces)

    host = Scripted({3.4: in_ns(DB)}, come)

    assert host.till(10.0) == [(3.4, in_ns(DB)), (4.0, in_ns(WEB))]


def test_specs_whose_changes_nobody_tells_of_are_read_every_few_seconds() -> None:
    host = Scripted({}, lambda _: passed(is_blind=True))

    assert host.till(16.0) == [(5.0, SPECS), (10.0, SPECS), (15.0, SPECS)]


@pytest.mark.parametrize("key", ["released_s", "resumed_s"])
def test_end_of_a_pause_makes_a_pass_at_that_time_and_not_when_the_pause_is_lifted_before(key: str) -> None:
    host = Scripted({}, lambda _: passed(**({key: 100.0} if host.now_s < 100.0 else {})))
    assert host.till(200.0) == [(100.0, EVERYTHING)]

    host = Scripted({50.0: SPECS}, lambda _: passed(**({key: 100.0} if host.now_s < 50.0 else {})))
    assert host.till(200.0) == [(50.0, SPECS)]


def test_namespace_that_cries_wolf_is_looked_at_less_often_and_does_not_hold_up_others() -> None:
    news = {1.0 + 0.1 * number: in_ns(WEB) for number in range(100)}
    host = Scripted({**news, 9.97: in_ns(DB)})

    passes = host.till(11.0)

    of_web = [at for at, dirty in passes if WEB in dirty.namespaces]
    assert len(of_web) <= 12
    assert max(after - before for before, after in pairwise(of_web)) <= 2.2
    assert [at for at, dirty in passes if DB in dirty.namespaces] == [9.97]


def test_host_that_had_to_wait_is_looked_at_as_a_whole() -> None:
    one_link = Dirty(namespaces=frozenset({HOST}), host_links=frozenset({7}))
    host = Scripted({1.0: one_link, 2.0: one_link, 3.0: one_link})

    assert [dirty.are_all_links for _, dirty in host.till(5.0)] == [False, False, True]


def test_storm_of_other_hosts_takes_half_of_the_time_and_nothing_of_ours_waits_for_it() -> None:
    storm = {1.0 + 0.02 * number: CLUSTER for number in range(500)}
    host = Scripted({**storm, 4.25: in_ns(WEB)}, lambda _: passed(has_outcomes=True), takes_s=0.5)

    passes = host.till(11.0)

    of_others = [at for at, dirty in passes if dirty.is_cluster]
    assert [round(after - before, 1) for before, after in pairwise(of_others)] == [1.0] * (len(of_others) - 1)
    assert [dirty for _, dirty in passes if WEB in dirty.namespaces] == [in_ns(WEB)]


def test_news_of_other_hosts_that_come_singly_do_not_wait_and_a_long_pass_does_not_keep_them_waiting_as_long() -> None:
    host = Scripted({10.0: CLUSTER, 20.0: CLUSTER, 30.0: CLUSTER}, takes_s=9.0)

    assert [at for at, _ in host.till(60.0)] == [10.0, 21.0, 32.0]


def test_pass_for_another_reason_serves_other_hosts_too() -> None:
    host = Scripted({1.0: CLUSTER, 1.1: CLUSTER | in_ns(WEB), 5.0: in_ns(DB)}, takes_s=0.9)

    assert [at for at, _ in host.till(10.0)] == [1.0, 1.91, 5.0]


def test_reload_and_what_makes_no_event_lead_to_a_pass() -> None:
    reload = FIRST | Dirty(is_reload=True)
    host = Scripted({1.0: reload}, glances={7.0: EVERYTHING})

    assert [dirty for _, dirty in host.till(20.0)] == [reload, EVERYTHING]
    assert host.told.index("reloading") == 1
    assert host.passes[-1][0] <= 7.0 + 5.0, "seen with the next glance"


def test_sign_of_life_that_is_awaited_is_looked_for_every_second() -> None:
    host = Scripted({}, is_sign_awaited=True)

    host.till(10.0)

    assert len(host.looked) == 10


def test_nothing_is_begun_when_the_end_has_come() -> None:
    host = Scripted({1.0: in_ns(WEB)})

    assert host.till(1.001) == []
