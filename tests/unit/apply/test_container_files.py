"""Files that an engine mounts into containers: written, seen again, given back, and nothing else ever touched."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import pytest
from msgspec.structs import replace

from reconciler.errors import KernelError, NameConflict, ReconcilerError
from reconciler.kinds import container_file
from reconciler.kinds.container_file import notes_folder
from reconciler.model.containers import Container, ContainerAnswer, NoContainer
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import ContainerFile
from reconciler.model.plan import Action, Operation
from reconciler.model.wanted import AttachmentWanted, SandboxKind, SandboxRef, WantedState
from reconciler.observe.containers import container_files, observe_containers
from reconciler.observe.memory import Memory
from reconciler.settings import Settings
from tests.fakes.world import world
from tests.limits import few_descriptors

ENGINES = "127.0.0.1 localhost\n# of the engine\n"
OURS = "127.0.0.1 localhost\n10.1.0.2 web\n"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(host="alpha", run_dir=tmp_path / "run")


@pytest.fixture
def hosts(tmp_path: Path) -> ContainerFile:
    """The file as wanted; the engine has written it."""
    return started(tmp_path, "c1")


def started(tmp_path: Path, container: str, process: str = "pid:7@1", content: str = ENGINES) -> ContainerFile:
    path = tmp_path / container / "hosts"
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    return ContainerFile(attachment="web", name="hosts", path=str(path), content=OURS, process=NsRef(process))


def apply(settings: Settings, before: ContainerFile | None, after: ContainerFile | None) -> ReconcilerError | None:
    action = Action.CREATE if before is None else Action.DELETE if after is None else Action.UPDATE
    found = after or before
    assert found is not None
    operation = Operation(action=action, before=before, after=after, unit=found.unit)
    (outcome,) = container_file.apply([operation], world(settings=settings))
    return outcome.error


def seen(settings: Settings) -> list[ContainerFile]:
    found = [each.object for each in container_files(settings.run_dir, Memory()).values()]
    return [each for each in found if isinstance(each, ContainerFile)]


def test_file_is_seen_as_it_was_written(settings: Settings, hosts: ContainerFile) -> None:
    inode = os.stat(hosts.path).st_ino

    assert apply(settings, None, hosts) is None

    assert seen(settings) == [hosts]
    assert Path(hosts.path).read_text() == OURS
    assert os.stat(hosts.path).st_ino == inode


def test_file_is_given_back_as_the_engine_wrote_it(settings: Settings, hosts: ContainerFile) -> None:
    apply(settings, None, hosts)

    assert apply(settings, hosts, None) is None

    assert Path(hosts.path).read_text() == ENGINES
    assert seen(settings) == []
    assert not notes_folder(settings.run_dir).exists()


def test_what_the_engine_wrote_is_remembered_over_our_own_changes(settings: Settings, hosts: ContainerFile) -> None:
    longer = replace(hosts, content=OURS * 2)
    apply(settings, None, hosts)
    assert apply(settings, hosts, longer) is None
    assert Path(hosts.path).read_text() == OURS * 2
    assert apply(settings, longer, hosts) is None
    assert Path(hosts.path).read_text() == OURS

    apply(settings, hosts, None)

    assert Path(hosts.path).read_text() == ENGINES


def test_file_that_could_not_be_cut_when_it_was_given_back_is_given_back_by_the_next_pass(
    settings: Settings, hosts: ContainerFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = replace(hosts, content=OURS * 2)
    apply(settings, None, longer)
    with monkeypatch.context() as full:
        full.setattr(os, "ftruncate", lambda *_: _disk_is_full())
        assert isinstance(apply(settings, longer, None), KernelError)
    assert Path(hosts.path).read_text() == ENGINES + (OURS * 2)[len(ENGINES) :]

    apply(settings, longer, None)

    assert Path(hosts.path).read_text() == ENGINES
    assert seen(settings) == []


def test_disk_that_takes_a_part_only_is_told(
    settings: Settings, hosts: ContainerFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.pwrite

    def part(descriptor: int, data: bytes, offset: int) -> int:
        return write(descriptor, data[:5], offset) if offset < 10 else _disk_is_full()

    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", part)
        assert isinstance(apply(settings, None, hosts), KernelError)

    assert apply(settings, None, hosts) is None
    assert Path(hosts.path).read_text() == OURS


def _disk_is_full() -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_the_engine_wrote_at_the_next_start_is_given_back_then(tmp_path: Path, settings: Settings) -> None:
    first = started(tmp_path, "c1")
    apply(settings, None, first)
    again = started(tmp_path, "c1", process="pid:8@2", content="anew\n")
    (found,) = seen(settings)
    assert found.content == "anew\n"

    assert apply(settings, found, again) is None
    apply(settings, again, None)

    assert Path(again.path).read_text() == "anew\n"


def test_text_of_ours_that_an_engine_leaves_over_a_restart_is_not_taken_for_its_own(
    settings: Settings, hosts: ContainerFile
) -> None:
    apply(settings, None, hosts)
    again = replace(hosts, process=NsRef("pid:8@2"), content=OURS * 2)

    assert apply(settings, hosts, again) is None
    apply(settings, again, None)

    assert Path(hosts.path).read_text() == ENGINES


def test_what_the_engine_wrote_since_is_left_when_the_attachment_goes(tmp_path: Path, settings: Settings) -> None:
    hosts = started(tmp_path, "c1")
    apply(settings, None, hosts)
    started(tmp_path, "c1", content="anew\n")

    assert apply(settings, hosts, None) is None

    assert Path(hosts.path).read_text() == "anew\n"


@pytest.mark.parametrize(
    "left", [OURS, OURS * 2, OURS * 3], ids=["before it was written", "before it was cut", "afterwards"]
)
def test_file_whose_change_was_cut_short_is_still_given_back(
    settings: Settings, hosts: ContainerFile, left: str
) -> None:
    longer = replace(hosts, content=OURS * 2)
    apply(settings, None, hosts)
    apply(settings, hosts, longer)
    Path(hosts.path).write_text(left)

    apply(settings, longer, None)

    assert Path(hosts.path).read_text() == ENGINES


def test_file_of_another_container_gets_the_text_and_the_former_its_own_back(
    tmp_path: Path, settings: Settings, hosts: ContainerFile
) -> None:
    apply(settings, None, hosts)
    successor = started(tmp_path, "c2", content="second\n")

    assert apply(settings, hosts, successor) is None

    assert Path(hosts.path).read_text() == ENGINES
    assert seen(settings) == [successor]
    apply(settings, successor, None)
    assert Path(successor.path).read_text() == "second\n"


def test_file_of_a_container_that_is_gone_needs_nothing(settings: Settings, hosts: ContainerFile) -> None:
    apply(settings, None, hosts)
    Path(hosts.path).unlink()
    assert [each.content for each in seen(settings)] == [""]

    assert apply(settings, hosts, None) is None

    assert not Path(hosts.path).exists()
    assert seen(settings) == []


def test_file_that_vanishes_meanwhile_is_an_error_of_its_own(settings: Settings, hosts: ContainerFile) -> None:
    Path(hosts.path).unlink()

    assert isinstance(apply(settings, None, hosts), KernelError)

    assert not Path(hosts.path).exists()


@pytest.mark.parametrize("trap", ["symlink", "dangling symlink", "hard link", "folder", "fifo"])
def test_what_no_engine_makes_is_neither_read_nor_written(
    tmp_path: Path, settings: Settings, hosts: ContainerFile, trap: str
) -> None:
    theirs, path = tmp_path / "theirs", Path(hosts.path)
    theirs.write_text("theirs\n")
    path.unlink()
    match trap:
        case "symlink":
            path.symlink_to(theirs)
        case "dangling symlink":
            path.symlink_to(tmp_path / "nowhere")
        case "hard link":
            path.hardlink_to(theirs)
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)

    assert isinstance(apply(settings, None, hosts), (NameConflict, KernelError))
    assert theirs.read_text() == "theirs\n"
    assert not (tmp_path / "nowhere").exists()
    assert apply(settings, hosts, None) is None
    assert theirs.read_text() == "theirs\n"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"path": 7}', "[" * 100_000])
def test_note_that_makes_no_sense_counts_as_none(settings: Settings, hosts: ContainerFile, text: str) -> None:
    apply(settings, None, hosts)
    note = notes_folder(settings.run_dir) / "web" / "hosts"
    note.write_text(text)

    assert seen(settings) == []
    assert apply(settings, None, hosts) is None
    assert seen(settings) == [hosts]


class Known:
    """Answers from a table, and remembers what was asked."""

    def __init__(self, **answers: ContainerAnswer) -> None:
        self.answers = answers
        self.asked: list[tuple[str, ...]] = []

    def find(self, names: Iterable[str]) -> dict[str, ContainerAnswer]:
        self.asked.append(tuple(names))
        return {name: self.answers.get(name, NoContainer(reason="gone")) for name in self.asked[-1]}


def wanted(*names: str) -> WantedState:
    attachments = (AttachmentWanted(name=name, sandbox=SandboxRef(SandboxKind.CONTAINER, name)) for name in names)
    return WantedState(networks=(), attachments=tuple(attachments))


def test_containers_are_asked_for_once_and_those_that_come_alone(hosts: ContainerFile) -> None:
    web = Container(id="c1", process=NsRef("pid:7@1"), files=(("hosts", hosts.path), ("resolv.conf", "/nowhere")))
    known, memory = Known(web=web), Memory()

    first = observe_containers(wanted("web", "db"), (), known, memory)
    observe_containers(wanted("web", "db"), (), known, memory)
    observe_containers(wanted("web", "db", "new"), (), known, memory)
    memory.forget_containers({"web"})
    observe_containers(wanted("web", "new"), [(NsRef("container:old"), "net/x")], known, memory)

    assert known.asked == [("db", "web"), ("new",), ("old", "web")]
    assert first["web"] == replace(web, files=(("hosts", hosts.path),))
    assert sorted(memory.containers) == ["new", "old", "web"]


def test_file_that_cannot_be_read_now_is_still_there(hosts: ContainerFile) -> None:
    """It was taken for none of the engine's, and given back."""
    web = Container(id="c1", process=NsRef("pid:7@1"), files=(("hosts", hosts.path),))

    with few_descriptors():
        found = observe_containers(wanted("web"), (), Known(web=web), Memory())

    assert found["web"] == web


def test_nothing_is_noted_or_given_back_unread(settings: Settings, hosts: ContainerFile) -> None:
    """Our text would be noted as the engine's, and what the engine wrote be lost."""
    apply(settings, None, hosts)
    other = replace(hosts, content=f"{OURS}10.1.0.3 db\n")

    for after in (other, None):
        with few_descriptors():
            assert isinstance(apply(settings, hosts, after), KernelError)
    with few_descriptors(), pytest.raises(KernelError, match="EMFILE"):
        seen(settings)

    assert seen(settings) == [hosts]
    apply(settings, hosts, None)
    assert Path(hosts.path).read_text() == ENGINES
