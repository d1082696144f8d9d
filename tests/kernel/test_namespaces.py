"""Finding, making and deleting namespaces."""

from __future__ import annotations

import errno
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from reconciler.errors import KernelError, NameConflict, PlanError, SandboxMissing
from reconciler.kernel import sysctl
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.processes import process_ref
from reconciler.kernel.sysctl import read_sysctl, write_sysctl
from reconciler.model.containers import Container, NoContainer
from reconciler.model.identifiers import HOST, LINK_GROUP, NsRef
from reconciler.model.objects import Address, LinkUp, Namespace, VethPair
from tests.kernel.engine import Engine, engine_on, sandbox
from tests.kernel.test_links import BRIDGE, pair_to
from tests.machine import Machine
from tests.waiting import eventually

pytestmark = pytest.mark.kernel

WEB = Namespace(ns=sandbox("web"), name="web")


@contextmanager
def process_in(machine: Machine, ns: str) -> Iterator[int]:
    """Run a process in a namespace meanwhile, once it is surely there."""
    child = subprocess.Popen(["ip", "netns", "exec", ns, "cat"], stdin=subprocess.PIPE)
    try:
        inside = os.stat(machine.path(ns)).st_ino
        assert eventually(lambda: os.stat(f"/proc/{child.pid}/ns/net").st_ino == inside)
        assert eventually(lambda: Path(f"/proc/{child.pid}/comm").read_text() == "cat\n")
        yield child.pid
    finally:
        child.communicate()


def test_created_namespace_is_marked_and_its_loopback_up(engine: Engine) -> None:
    engine.make_sandbox("web")

    (loopback,) = engine.machine.ip_json("web", "link", "show")

    assert engine.has(WEB, LinkUp(ns=WEB.ns, ifname="lo"))
    assert loopback["ifalias"] == f"reconciler:{engine.settings.instance}"
    assert loopback["group"] == str(LINK_GROUP)
    assert engine.observe().sandboxes[WEB.ns].is_ours
    assert engine.machine.ping("web", "127.0.0.1")


def test_settings_are_those_of_the_namespace_that_one_is_in(engine: Engine) -> None:
    engine.make_sandbox("web")
    name, namespaces = "net/ipv4/ip_default_ttl", engine.namespaces
    for ttl in range(40, 140):  # more often than the mount that they are opened in lasts
        with namespaces.enter(WEB.ns):
            write_sysctl(name, str(ttl))
            assert read_sysctl(name) == str(ttl)
        assert read_sysctl(name) == "64"
    assert engine.machine.run("web", "cat", f"/proc/sys/{name}").stdout.strip() == "139"


def test_settings_that_are_read_only_for_us_stay_so(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.add_namespace("ro")
    monkeypatch.setattr(sysctl, "_tree", sysctl._Tree())
    subprocess.run(["mount", "--bind", "-o", "ro", "/proc/sys", "/proc/sys"], check=True)
    try:
        with machine.inside("ro"):
            for _ in range(40):
                with pytest.raises(KernelError, match="Read-only file system"):
                    write_sysctl("net/ipv4/ip_default_ttl", "50")
    finally:
        subprocess.run(["umount", "/proc/sys"], check=True)


def test_creating_one_of_ours_again_keeps_it(engine: Engine) -> None:
    engine.make_sandbox("web")
    before = os.stat(engine.machine.path("web")).st_ino

    engine.create(WEB)

    assert os.stat(engine.machine.path("web")).st_ino == before


def test_file_that_a_crash_left_is_taken_over(engine: Engine) -> None:
    engine.machine.path("web").touch(0o444)

    engine.create(WEB)

    assert engine.namespaces.names() == ("H", "web")


@pytest.mark.parametrize("way", ["namespace", "file", "folder"])
def test_foreign_thing_in_the_way_stays(engine: Engine, way: str) -> None:
    path = engine.machine.path("web")
    match way:
        case "namespace":
            engine.machine.add_namespace("web")
        case "file":
            path.write_text("mine")
        case "folder":
            path.mkdir()
    before = os.stat(path)

    error = engine.create_error(WEB)

    assert isinstance(error, NameConflict)
    assert str(path) in str(error)
    assert os.stat(path) == before
    if way == "folder":
        path.rmdir()


def test_deleted_namespace_is_gone_with_its_file(engine: Engine) -> None:
    engine.make_sandbox("web")

    assert engine.delete_error(WEB) is None

    assert engine.machine.namespaces() == ["H"]


def test_file_that_cannot_be_removed_is_remembered(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """No event tells of it, so a watcher would not look."""
    engine.make_sandbox("web")

    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        assert isinstance(engine.delete_error(WEB), KernelError)
    assert engine.namespaces.has_left_over
    assert engine.namespaces.left_over(engine.namespaces.names()) == ("web",)

    assert engine.delete_error(WEB) is None
    assert engine.namespaces.left_over(engine.namespaces.names()) == ()
    assert not engine.namespaces.has_left_over


def test_deleting_what_is_gone_is_fine(engine: Engine) -> None:
    assert engine.delete_error(WEB) is None


def test_foreign_namespace_is_not_deleted(engine: Engine) -> None:
    engine.machine.add_namespace("web")

    error = engine.delete_error(WEB)

    assert isinstance(error, NameConflict)
    assert engine.machine.namespaces() == ["H", "web"]


def test_namespace_of_another_instance_is_foreign(engine: Engine) -> None:
    with Namespaces(engine.settings.netns_dir, "another") as others:
        assert others.create(["web"]) == [None]

    assert engine.look(WEB) is None
    assert isinstance(engine.delete_error(WEB), NameConflict)


def test_namespace_with_a_process_in_it_is_not_deleted(engine: Engine) -> None:
    engine.make_sandbox("web")
    with process_in(engine.machine, "web") as pid:
        error = engine.delete_error(WEB)

        assert isinstance(error, KernelError)
        assert f"process {pid} (cat)" in str(error)
        assert error.is_retryable
    assert engine.delete_error(WEB) is None


def test_every_kind_of_reference_leads_to_the_namespace(engine: Engine) -> None:
    engine.make_sandbox("web")
    path = engine.machine.path("web")
    with process_in(engine.machine, "web") as pid:
        pidfile = engine.machine.state_dir.parent / "web.pid"
        pidfile.write_text(f"{pid}\n")

        process = process_ref(pid)
        assert process is not None
        engine.namespaces.containers = {"c1": Container(id="c1", process=process)}

        refs = [WEB.ns, f"path:{path}", f"pid:{pid}", f"pidfile:{pidfile}", process, "container:c1"]

        assert {engine.namespaces.inode(NsRef(ref)) for ref in refs} == {os.stat(path).st_ino}


@pytest.mark.parametrize(
    "ref",
    [
        "netns:web",
        "path:/nowhere",
        "path:/etc/passwd",
        "path:/proc/self/ns/mnt",
        "pid:0",
        "pid:99999999999",
        "pid:../1",
        "pid:1@99999999999999",
        "pid:1@../1",
        "pid:../1@1",
        "pidfile:/nowhere",
        "pidfile:/etc/passwd",
        "container:web",
    ],
)
def test_reference_that_leads_nowhere_says_so(engine: Engine, ref: str) -> None:
    with pytest.raises(SandboxMissing, match=re.escape(ref)):
        engine.namespaces.inode(NsRef(ref))


@pytest.mark.parametrize(("may_come", "kind"), [(True, SandboxMissing), (False, PlanError)])
def test_container_that_cannot_be_joined_is_said_as_its_engine_says_it(
    engine: Engine, may_come: bool, kind: type[PlanError]
) -> None:
    engine.namespaces.containers = {"c1": NoContainer(reason="it is not running", may_come=may_come)}

    with pytest.raises(kind, match="container:c1: it is not running") as raised:
        engine.namespaces.inode(NsRef("container:c1"))

    assert raised.value.is_retryable is may_come
    assert engine.namespaces.present_inode(NsRef("container:c1")) == 0


def test_container_whose_process_id_is_anothers_by_now_leads_nowhere(engine: Engine) -> None:
    """The engine's answer is from before; meanwhile the id was used again."""
    stale = Container(id="c1", process=NsRef(f"pid:{os.getpid()}@1"))
    engine.namespaces.containers = {"c1": stale}

    with pytest.raises(SandboxMissing, match="its process has ended"):
        engine.namespaces.inode(NsRef("container:c1"))

    assert engine.namespaces.present_inode(NsRef("container:c1")) == 0


def test_name_does_not_lead_out_of_the_folder(engine: Engine) -> None:
    with pytest.raises(SandboxMissing, match="no name for a namespace"):
        engine.namespaces.inode(NsRef("netns:../netns/H"))


def test_fifo_in_place_of_a_namespace_does_not_block(engine: Engine) -> None:
    fifo = engine.machine.state_dir.parent / "fifo"
    os.mkfifo(fifo)

    with pytest.raises(SandboxMissing, match="not a network namespace"):
        engine.namespaces.inode(NsRef(f"path:{fifo}"))


def test_thread_is_back_on_the_host_after_a_failure_inside(engine: Engine) -> None:
    ns = engine.make_sandbox("web")
    host = os.stat("/proc/thread-self/ns/net").st_ino

    def fail_inside() -> None:
        with engine.namespaces.enter(ns):
            assert os.stat("/proc/thread-self/ns/net").st_ino == engine.namespaces.inode(ns) != host
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()

    assert os.stat("/proc/thread-self/ns/net").st_ino == host == engine.namespaces.inode(HOST)


def test_released_namespace_goes_when_others_delete_it(engine: Engine) -> None:
    ns = engine.make_sandbox("web")
    engine.create(BRIDGE, pair_to(ns))
    engine.namespaces.release()

    engine.machine.delete_namespace("web")

    assert eventually(lambda: "rcv1" not in engine.machine.links("H"))


def test_namespace_that_others_replaced_is_seen_anew(engine: Engine) -> None:
    ns = engine.make_sandbox("web")
    before = engine.namespaces.inode(ns)

    engine.machine.delete_namespace("web")
    engine.machine.add_namespace("web")

    fact = engine.observe().sandboxes[ns]
    assert not fact.is_ours
    assert fact.inode == os.stat(engine.machine.path("web")).st_ino != before


def test_few_descriptors_are_enough_for_many_namespaces(engine: Engine) -> None:
    engine.namespaces.capacity = 2

    sandboxes = [engine.make_sandbox(f"c{number}") for number in range(5)]
    engine.create(BRIDGE, *(pair_to(ns, number) for number, ns in enumerate(sandboxes)))

    assert engine.has(*(pair_to(ns, number) for number, ns in enumerate(sandboxes)))


def test_orphan_of_ours_is_seen_but_foreign_ones_are_not(engine: Engine) -> None:
    engine.create(WEB)
    engine.machine.add_namespace("foreign")

    seen = engine.observe().seen

    assert [found.object for found in seen.values() if isinstance(found.object, Namespace)] == [WEB]
    assert not any(isinstance(found.object, (LinkUp, Address, VethPair)) for found in seen.values())


def test_adapters_work_from_within_any_namespace(machine: Machine) -> None:
    machine.add_namespace("H2")

    with engine_on(machine, "H2") as engine:
        engine.create(BRIDGE)

        assert machine.links("H2") == ["br-test", "lo"]
