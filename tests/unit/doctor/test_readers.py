"""What is read of files of others, whatever stands in their place. Nothing of this machine is looked at."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import pytest

import reconciler.doctor.kernel as of_kernel
import reconciler.doctor.managers as of_managers
from reconciler.backends import Backends
from reconciler.doctor.chains import old_chains
from reconciler.doctor.place import Place
from reconciler.settings import Settings


@pytest.fixture
def place(tmp_path: Path) -> Place:
    root = tmp_path / "root"
    root.mkdir()
    return Place(settings=Settings(host="alpha"), backends=cast("Backends", None), root=root)


def put(place: Place, path: str, text: str = "") -> Path:
    file = place.root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_no_file_keeps_a_check_waiting_or_takes_all_memory(place: Place) -> None:
    huge = put(place, "etc/x.d/b.conf")
    os.truncate(huge, 1 << 34)
    os.mkfifo(place.root / "etc/x.d/a.conf")
    (place.root / "etc/x.d/c.conf").symlink_to("c.conf")
    (place.root / "etc/x.d/d.conf").mkdir()
    put(place, "etc/x.d/e.txt")

    assert place.file("/etc/x.d/a.conf") is None
    assert {path: len(text) for path, text in place.files("/etc/x.d", ".conf").items()} == {"/etc/x.d/b.conf": 1 << 20}
    assert place.files("/nowhere", ".conf") == {}


def test_modules_are_known_by_their_files_and_by_sysfs(place: Place) -> None:
    put(
        place,
        "lib/modules/6.1/modules.dep",
        "kernel/drivers/net/vxlan/vxlan.ko.xz: kernel/x.ko\nkernel/veth.ko:\nodd\n",
    )
    (place.root / "sys/module/bridge").mkdir(parents=True)
    files = of_kernel._module_files(place, "6.1")

    assert files == {"vxlan", "veth"}
    states = {name: of_kernel._state(place, name, files).name for name in ("bridge", "vxlan", "macvlan")}
    assert states == {"bridge": "THERE", "vxlan": "LOADABLE", "macvlan": "UNKNOWN"}
    assert of_kernel._module_files(place, "6.2") == frozenset()


def test_programs_are_known_by_what_the_kernel_calls_them(place: Place) -> None:
    for pid, name in (("1", "systemd"), ("7", "NetworkManager"), ("8", "systemd-network"), ("self", "dockerd")):
        put(place, f"proc/{pid}/comm", f"{name}\n")
    (place.root / "proc/9").mkdir()

    assert {*of_managers._running(place)} == {"NetworkManager", "systemd-network"}
    assert not of_managers._is_enabled(place)
    put(place, "etc/systemd/system/sysinit.target.wants/nftables.service")
    assert of_managers._is_enabled(place)


def test_old_tables_are_listed_where_there_are_some(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    assert old_chains(place) == ([], ())
    put(place, "proc/net/ip_tables_names", "nat\nfilter\n")
    put(place, "proc/net/ip6_tables_names", "filter\n")
    program = put(
        place,
        "bin/iptables-legacy",
        "#!/bin/sh\necho -P FORWARD DROP; echo -A FORWARD -j INNER; echo -A INNER -j DROP\n",
    )
    program.chmod(0o755)
    failing = put(place, "bin/ip6tables-legacy", "#!/bin/sh\nexit 4\n")
    failing.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))

    (chain,), unread = old_chains(place)

    assert (str(chain), chain.hook, chain.policy, chain.versions) == (
        "chain FORWARD of iptables-legacy",
        "forward",
        "drop",
        (4,),
    )
    assert [rule.verdict for rule in chain.rules_of("INNER")] == ["drop"]
    assert unread == ("ip6tables-legacy",)
