"""Files of sandboxes: written, seen again, and never outside their folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from reconciler.errors import KernelError, NameConflict, ReconcilerError
from reconciler.kinds import sandbox_file
from reconciler.kinds.sandbox_file import SandboxFiles
from reconciler.model.objects import SandboxFile, Seen
from reconciler.model.plan import Action, Operation
from reconciler.model.wanted import AttachmentWanted, SandboxKind, SandboxRef
from reconciler.settings import Settings
from tests.fakes.world import world

HOSTS = SandboxFile(attachment="web", name="hosts", content="127.0.0.1 localhost\n", netns_name="web")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(host="alpha", run_dir=tmp_path / "run", netns_etc_dir=tmp_path / "etc")


def apply(settings: Settings, before: SandboxFile | None, after: SandboxFile | None) -> ReconcilerError | None:
    action = Action.CREATE if before is None else Action.DELETE if after is None else Action.UPDATE
    operation = Operation(action=action, before=before, after=after, unit=(after or before or HOSTS).unit)
    (outcome,) = sandbox_file.apply([operation], world(settings=settings))
    return outcome.error


def look(settings: Settings, *names: str) -> list[Seen]:
    """Look with attachments of these names wanted, each in the namespace of its name."""
    attachments = tuple(AttachmentWanted(name=name, sandbox=SandboxRef(SandboxKind.NETNS, name)) for name in names)
    return list(SandboxFiles().look(attachments, settings).values())


def test_file_is_seen_as_it_was_written(settings: Settings) -> None:
    assert apply(settings, None, HOSTS) is None

    assert look(settings, "web") == [Seen(HOSTS, is_ours=True)]
    assert (settings.netns_etc_dir / "web/hosts").read_text() == HOSTS.content


def test_file_without_a_named_namespace_has_no_link(settings: Settings) -> None:
    unlinked = replace(HOSTS, netns_name="")

    assert apply(settings, None, unlinked) is None

    assert look(settings) == [Seen(unlinked, is_ours=True)]
    assert not settings.netns_etc_dir.exists()


def test_file_is_changed_in_place(settings: Settings) -> None:
    apply(settings, None, HOSTS)
    path = settings.run_dir / "sandboxes/web/hosts"
    inode = path.stat().st_ino
    shorter = replace(HOSTS, content="::1 l\n")

    assert apply(settings, HOSTS, shorter) is None

    assert (path.stat().st_ino, path.read_text()) == (inode, "::1 l\n")
    assert path.stat().st_mode & 0o777 == 0o644


def test_creating_what_is_there_is_fine(settings: Settings) -> None:
    apply(settings, None, replace(HOSTS, content="left by a crash, and longer than what shall be there\n"))

    assert apply(settings, None, HOSTS) is None

    assert look(settings, "web") == [Seen(HOSTS, is_ours=True)]


def test_link_whose_file_was_lost_is_seen_and_mended(settings: Settings) -> None:
    apply(settings, None, HOSTS)
    (settings.run_dir / "sandboxes/web/hosts").unlink()
    (settings.run_dir / "sandboxes/web").rmdir()

    (seen,) = look(settings, "web")

    assert seen == Seen(replace(HOSTS, content=""), is_ours=True)
    assert apply(settings, replace(HOSTS, content=""), HOSTS) is None
    assert look(settings, "web") == [Seen(HOSTS, is_ours=True)]


@pytest.mark.parametrize("way", ["file", "link", "dangling link"])
def test_foreign_thing_in_the_links_place_stays(settings: Settings, way: str) -> None:
    place = settings.netns_etc_dir / "web/hosts"
    place.parent.mkdir(parents=True)
    match way:
        case "file":
            place.write_text("mine\n")
        case "link":
            place.symlink_to("/etc/hosts")
        case "dangling link":
            place.symlink_to("/nowhere")
    before = written(place)

    (seen,) = look(settings, "web")

    assert (seen.object.key, seen.is_ours) == (HOSTS.key, False)
    assert isinstance(apply(settings, None, HOSTS), NameConflict)
    assert written(place) == before


def written(place: Path) -> tuple[int, int, int]:
    """Give what writing changes; reading a link may change when it was read."""
    found = place.lstat()
    return found.st_ino, found.st_ctime_ns, found.st_size


def test_foreign_files_of_namespaces_that_nobody_wants_are_not_seen(settings: Settings) -> None:
    (settings.netns_etc_dir / "other").mkdir(parents=True)
    (settings.netns_etc_dir / "other/hosts").write_text("mine\n")

    assert look(settings, "web") == []


def test_deletion_removes_file_link_and_empty_folders(settings: Settings) -> None:
    apply(settings, None, HOSTS)

    assert apply(settings, HOSTS, None) is None
    assert apply(settings, HOSTS, None) is None

    assert look(settings) == []
    assert list((settings.run_dir / "sandboxes").iterdir()) == list(settings.netns_etc_dir.iterdir()) == []


def test_deletion_keeps_what_others_put_beside(settings: Settings) -> None:
    apply(settings, None, HOSTS)
    (settings.netns_etc_dir / "web/nsswitch.conf").write_text("mine\n")

    assert apply(settings, HOSTS, None) is None

    assert [path.name for path in (settings.netns_etc_dir / "web").iterdir()] == ["nsswitch.conf"]


def test_deletion_keeps_a_link_that_is_not_ours_any_more(settings: Settings) -> None:
    apply(settings, None, HOSTS)
    place = settings.netns_etc_dir / "web/hosts"
    place.unlink()
    place.symlink_to("/etc/hosts")

    assert apply(settings, HOSTS, None) is None

    assert place.is_symlink()


def test_link_moves_with_the_namespace(settings: Settings) -> None:
    apply(settings, None, HOSTS)
    moved = replace(HOSTS, netns_name="web2")

    assert apply(settings, HOSTS, moved) is None

    assert [path.name for path in settings.netns_etc_dir.iterdir()] == ["web2"]


def test_second_link_to_a_file_is_seen_until_it_is_gone(settings: Settings) -> None:
    apply(settings, None, HOSTS)
    stray = replace(HOSTS, netns_name="astray")
    apply(settings, None, stray)

    assert look(settings, "web") == [Seen(stray, is_ours=True)]
    assert apply(settings, stray, HOSTS) is None
    assert look(settings, "web") == [Seen(HOSTS, is_ours=True)]


@pytest.mark.parametrize("step", ["file", "folder", "sandboxes", "netns folder"])
def test_link_planted_in_our_folder_is_not_followed(settings: Settings, tmp_path: Path, step: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    victim = outside / "hosts"
    victim.write_text("precious\n")
    place, target = {
        "file": (settings.run_dir / "sandboxes/web/hosts", victim),
        "folder": (settings.run_dir / "sandboxes/web", outside),
        "sandboxes": (settings.run_dir / "sandboxes", outside),
        "netns folder": (settings.netns_etc_dir / "web", outside),
    }[step]
    place.parent.mkdir(parents=True)
    place.symlink_to(target)

    error = apply(settings, None, HOSTS)

    assert isinstance(error, KernelError)
    assert victim.read_text() == "precious\n"
    assert list(outside.iterdir()) == [victim]


def test_failure_of_one_file_leaves_the_others(settings: Settings) -> None:
    (settings.run_dir / "sandboxes").mkdir(parents=True)
    (settings.run_dir / "sandboxes/web").write_text("a file where a folder should be")
    files = [HOSTS, replace(HOSTS, attachment="db", netns_name="")]

    outcomes = sandbox_file.apply(
        [Operation(action=Action.CREATE, before=None, after=file, unit=file.unit) for file in files],
        world(settings=settings),
    )

    assert [outcome.error is None for outcome in outcomes] == [False, True]
