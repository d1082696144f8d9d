"""Every test run happens on a machine of its own (`tests.private_namespaces`): no test can touch the real one.

Kernel tests (marker `kernel`) are skipped with the reason where that is not allowed, and fail where CI is set. Fixtures:

    machine     folders, namespaces, traffic (`tests.machine.Machine`); afterwards namespaces are removed, leaks fail the test
    host_ns     the name of a fresh namespace, "H", that plays the host
    uplink      the name of a second namespace, "outside", at the other end of the host's default route
    reconcile   runs the command line against `host_ns` in a process of its own
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Generator, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import HealthCheck, settings

from tests import fork_server, waiting
from tests.command_line import Reconcile
from tests.differences import differences
from tests.machine import Machine
from tests.private_namespaces import NoPrivateMachine, enter_private_machine
from tests.underlay import add_uplink

TOOLS = ("ip", "nft", "ping")
IN_CI = bool(os.environ.get("CI"))

# How long an example takes is the machine's business. "quick" is of `make test-quick`, "thorough" for who changes what is tried so.
# Each run draws others, so 60 a run rather than the 100 of Hypothesis'.
settings.register_profile(
    "tests", settings(), max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")
settings.register_profile("quick", settings(), max_examples=15)
settings.register_profile("thorough", settings(), max_examples=2000)

_reason_without_machine = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Leave the real machine before anything else runs."""
    os.environ["PATH"] = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    # Shells start background jobs deaf to the one, nohup to the other, and what we start inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    config.stash[_reason_without_machine] = _enter()


def _enter() -> str:
    """Enter the private machine; give the reason where it cannot be had, "" otherwise."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if threading.active_count() > 1:
        return "another thread runs already, it would stay on the real machine"
    try:
        enter_private_machine()
    except NoPrivateMachine as error:
        return str(error)
    return ""


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Of two views of a host, which are long, show where they differ."""
    if op != "==" or not (isinstance(left, dict) and isinstance(right, dict)):
        return None
    found = [f"{place or 'all'}: {a!r:.300} != {b!r:.300}" for place, a, b in islice(differences(left, right), 20)]
    return ["two dicts differ", *found]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spare the garbage collector what is collected here, now and later: it stays until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)  # before xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Longest first; see `_turn`. A module whose tests share something goes to one worker, as do modules that say so by
    the same `xdist_group`; other kernel tests, those of properties and those marked `apart` go one by one.
    """
    for item in items:
        is_short = not (
            item.get_closest_marker("kernel") or item.get_closest_marker("apart") or _is_of_properties(item)
        )
        if item.get_closest_marker("xdist_group") is None and (is_short or _shares_something(item)):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
    items.sort(key=_turn)


@pytest.hookimpl(specname="pytest_collection_modifyitems", trylast=True)  # after xdist
def pytest_name_groups(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have xdist know of groups. It names them in the id of a test, where pytest 9.2 does not look any more. Without, it knows of
    none, and says so nowhere: each worker starts all servers and engines, and makes what a module shares.
    """
    if not getattr(config.option, "loadgroup", False):
        return
    for item in items:
        names = sorted({mark.args[0] for mark in item.iter_markers("xdist_group")})
        suffix = f"@{'_'.join(names)}"
        if names and not item.nodeid.endswith(suffix):
            item._id = type(item._id).parse(item.nodeid + suffix)


def _shares_something(item: pytest.Item) -> bool:
    fixtures: dict[str, Sequence[pytest.FixtureDef[Any]]] = item._fixtureinfo.name2fixturedefs  # type: ignore[attr-defined]
    return any(each[-1].scope == "module" for each in fixtures.values())


def _is_of_properties(item: pytest.Item) -> bool:
    """Say whether it is tried on many examples."""
    return bool(getattr(getattr(item, "obj", None), "is_hypothesis_test", False))


def _turn(item: pytest.Item) -> tuple[int, int]:
    """Return when it is its turn. Workers get what comes in no order of subjects: tests of one subject all wait, or all compute.

    Kernel tests that share something, as servers or an engine, are one long row on one worker, so they are begun first too.
    """
    group = item.get_closest_marker("xdist_group")
    mixed = crc32((group.args[0] if group else item.nodeid).encode()) if hasattr(item.config, "workerinput") else 0
    is_kernel = item.get_closest_marker("kernel") is not None
    if (group and is_kernel) or item.get_closest_marker("long") or _is_of_properties(item):
        return 0, mixed
    return 1 if is_kernel else 2, mixed


def pytest_collection_finish(session: pytest.Session) -> None:
    """Have the parent of all command lines import while the first tests run; where there are no kernel tests, there is none."""
    if (
        any(item.get_closest_marker("kernel") for item in session.items)
        and not session.config.option.collectonly
        and not session.config.stash[_reason_without_machine]
    ):
        fork_server.start_parent()
        fork_server.fork_name_servers()


def pytest_unconfigure() -> None:
    fork_server.leave_parent()


def pytest_runtest_setup(item: pytest.Item) -> None:
    reason = item.config.stash[_reason_without_machine]
    if not reason or item.get_closest_marker("kernel") is None:
        return
    if IN_CI:
        pytest.fail(f"kernel tests must run in CI: {reason}", pytrace=False)
    pytest.skip(reason)


_TEST_S = 300.0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test that waits for what never comes, rather than have the whole run wait with it."""

    def fail(*_: object) -> None:
        pytest.fail(f"{item.nodeid} has not ended after {waiting.patient(_TEST_S):.0f} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, waiting.patient(_TEST_S))
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


_NARROW = "waited longer than half of a deadline"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Have the report tell of waits that were nearly in vain, also from a worker."""
    report = yield
    report.user_properties += [(_NARROW, tuple(wait)) for wait in waiting.narrow]
    waiting.narrow.clear()
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List them: there the next failure will be."""
    found = {
        (wait[0] / wait[1], f"{wait[0]:.1f} s of {wait[1]:.1f} s: {report.nodeid}")
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, wait in getattr(report, "user_properties", ())
        if name == _NARROW
    }
    if found:
        terminalreporter.section(_NARROW)
        for _, line in sorted(found, reverse=True):
            terminalreporter.line(line)


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    with fork_server.log_as_before():
        yield


@pytest.fixture
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A clean private machine. Its state is in memory: a pass waits for the disk fifteen times, and the disk for all workers."""
    if request.node.get_closest_marker("kernel") is None:
        pytest.fail("a test that uses `machine` needs @pytest.mark.kernel", pytrace=False)
    with tempfile.TemporaryDirectory(dir="/run") as memory:
        made = Machine(state_dir=Path(memory) / "state")
        yield made
        made.clean()
        leaks = made.leaks()
        assert not leaks, f"left on the machine: {leaks}"


@pytest.fixture
def host_ns(machine: Machine) -> str:
    """A namespace that plays the host: `lo` up, nothing else."""
    machine.add_namespace("H")
    return "H"


@pytest.fixture
def uplink(machine: Machine, host_ns: str) -> str:
    """The world outside: joined to the host by a veth pair `uplink0`, which is the host's default route.

    Host 192.0.2.1/24 and 2001:db8::1/64, outside 192.0.2.2/24 and 2001:db8::2/64; outside has no route back, as on the internet.
    """
    return add_uplink(machine, host_ns)


@pytest.fixture
def reconcile(machine: Machine, host_ns: str, tmp_path: Path) -> Reconcile:
    """The command line, for `host_ns`; its spec folder is `reconcile.specs`, empty at first."""
    made = Reconcile(machine=machine, host_ns=host_ns, specs=tmp_path / "specs")
    made.write()
    return made
