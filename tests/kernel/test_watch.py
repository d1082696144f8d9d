"""The watcher, end to end: whatever happens to the specs, the kernel or the watcher itself, the host follows the specs."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import Reconcile
from tests.machine import Machine
from tests.waiting import eventually, exit_code_of, is_readable

pytestmark = pytest.mark.kernel

LAN = "networks: {lan: {ipam: {config: [{subnet: 10.5.0.0/24}]}, driver_opts: {com.docker.network.bridge.name: br-lan}}}\n"
WEB = "attachments: {web: {networks: {lan: {ipv4_address: 10.5.0.10}}}}\n"
DB = "attachments: {db: {networks: {lan: {ipv4_address: 10.5.0.20}}}}\n"
DEADLINE_S = 10.0
HEARTBEAT_S = 5.0
"""After which a watcher sees that something was suspended or resumed, at the latest."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A host with a watcher at work; everything is asked from outside."""

    machine: Machine
    reconcile: Reconcile
    process: subprocess.Popen[bytes]

    def answers(self, address: str) -> bool:
        return self.machine.ping("H", address, deadline_s=0.3)

    def is_ready(self) -> bool:
        """Say whether the first pass is over and verified: until then nothing that is broken has drifted."""
        return (self.machine.status_dir / "summary.json").exists() and all(
            each["conditions"][0]["status"] == "True" for each in self.machine.summary()["attachments"].values()
        )

    def network(self, name: str) -> dict[str, Any]:
        entry: dict[str, Any] = self.machine.summary()["networks"][name]
        return entry

    def save(self, name: str, text: str) -> None:
        """Save as editors do: a draft renamed over the file."""
        draft = self.reconcile.specs / f".{name}.draft"
        draft.write_text(text)
        draft.rename(self.reconcile.specs / f"{name}.yaml")

    def ip(self, ns: str, *words: str) -> None:
        self.machine.run(ns, "ip", *words)

    def namespaces_of_threads(self) -> set[int]:
        """Give the network namespaces of all but the first, which enters others."""
        found = set()
        for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
            with contextlib.suppress(OSError):  # ended meanwhile
                found.add((thread / "ns/net").stat().st_ino if int(thread.name) != self.process.pid else 0)
        return found - {0}

    def near_end(self) -> str:
        return next(name for name in self.machine.links("H") if name.startswith("rcv"))


@pytest.fixture
def start(machine: Machine, reconcile: Reconcile, host_ns: str) -> Iterator[Callable[[], Watched]]:
    running: list[subprocess.Popen[bytes]] = []

    def begin() -> Watched:
        process = reconcile.start("-q", "watch")
        running.append(process)
        return Watched(machine, reconcile, process)

    yield begin
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture
def watched(start: Callable[[], Watched], reconcile: Reconcile) -> Watched:
    reconcile.write(lan=LAN, web=WEB)
    found = start()
    assert eventually(lambda: found.answers("10.5.0.10"), DEADLINE_S)
    assert eventually(found.is_ready, DEADLINE_S)
    return found


@pytest.mark.quick
def test_new_attachment_answers_soon_after_its_file_was_saved(watched: Watched) -> None:
    watched.save("db", DB)

    assert eventually(lambda: watched.answers("10.5.0.20"), DEADLINE_S)


def test_removed_file_takes_its_attachment_along(watched: Watched) -> None:
    watched.save("db", DB)
    assert eventually(lambda: watched.answers("10.5.0.20"), DEADLINE_S)

    (watched.reconcile.specs / "db.yaml").unlink()

    assert eventually(lambda: "db" not in watched.machine.namespaces(), DEADLINE_S)
    assert watched.answers("10.5.0.10")


def test_bad_yaml_changes_nothing_says_where_and_is_applied_once_mended(watched: Watched) -> None:
    links = watched.machine.links("H")

    watched.save("db", "attachments:\n  db: {networks: [lan\n")

    assert eventually(lambda: "db.yaml:" in json.dumps(watched.machine.summary()["conditions"]), DEADLINE_S)
    assert watched.machine.links("H") == links
    watched.save("db", DB)
    assert eventually(lambda: watched.answers("10.5.0.20"), DEADLINE_S)
    assert eventually(lambda: "db.yaml:" not in json.dumps(watched.machine.summary()["conditions"]), DEADLINE_S)


def test_emptied_folder_stalls_and_prunes_nothing(watched: Watched) -> None:
    for path in watched.reconcile.specs.glob("*.yaml"):
        path.unlink()

    assert eventually(lambda: "PruneGuard" in json.dumps(watched.network("lan")), DEADLINE_S)
    assert watched.answers("10.5.0.10")
    assert watched.reconcile().exit_code == 3
    assert watched.answers("10.5.0.10")


def test_folder_that_is_gone_keeps_what_runs_repaired_and_is_followed_when_it_comes_again(watched: Watched) -> None:
    gone = watched.reconcile.specs.rename(watched.reconcile.specs.with_name("gone"))
    assert eventually(
        lambda: "cannot be looked through" in json.dumps(watched.machine.summary()["conditions"]), DEADLINE_S
    )
    watched.ip("H", "link", "delete", "br-lan")
    assert eventually(lambda: watched.answers("10.5.0.10"), DEADLINE_S)

    gone.rename(watched.reconcile.specs)
    assert eventually(lambda: "looked through" not in json.dumps(watched.machine.summary()["conditions"]), DEADLINE_S)
    watched.reconcile.write(lan=LAN, web=WEB, db=DB)

    assert eventually(lambda: watched.answers("10.5.0.20"), DEADLINE_S)
    assert watched.namespaces_of_threads() == {watched.machine.path("H").stat().st_ino}, "none was begun in a sandbox"


def test_watcher_without_a_folder_builds_nothing_and_waits_for_it(
    machine: Machine, reconcile: Reconcile, host_ns: str
) -> None:
    reconcile.specs.rmdir()
    with reconcile.start("-q", "watch", stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            assert is_readable(process.stderr, DEADLINE_S)
            assert "cannot be looked through" in process.stderr.readline()
            assert machine.links(host_ns) == ["lo"]

            reconcile.write(lan=LAN, web=WEB)

            assert eventually(lambda: machine.ping(host_ns, "10.5.0.10", deadline_s=0.3), DEADLINE_S)
        finally:
            process.kill()


BROKEN = {
    "bridge": ["H link del br-lan", "H link set br-lan down", "H addr flush dev br-lan"],
    "near end": ["H link del NEAR", "H link set NEAR down", "H link set NEAR nomaster"],
    "far end": ["web link del eth0", "web link set eth0 down", "web addr del 10.5.0.10/24 dev eth0"],
}
"""Few at a time for each object: more would be a fight, of which the watcher would keep out."""


@pytest.mark.parametrize("commands", BROKEN.values(), ids=BROKEN)
def test_what_others_broke_is_put_back_and_counted(watched: Watched, commands: list[str]) -> None:
    for command in commands:
        ns, *words = command.replace("NEAR", watched.near_end()).split()
        watched.ip(ns, *words)
        assert eventually(lambda: watched.answers("10.5.0.10"), DEADLINE_S), command
    assert eventually(lambda: _drift(watched), DEADLINE_S)


def _drift(watched: Watched) -> bool:
    entries = [*watched.machine.summary()["networks"].values(), *watched.machine.summary()["attachments"].values()]
    return any(entry["driftRepaired"] > 0 for entry in entries)


def test_namespace_that_others_deleted_is_made_again(watched: Watched) -> None:
    watched.machine.run("", "ip", "netns", "del", "web")

    assert eventually(lambda: watched.answers("10.5.0.10"), DEADLINE_S)


def test_default_route_that_others_removed_is_put_back(watched: Watched) -> None:
    watched.ip("web", "route", "del", "default")

    assert eventually(lambda: watched.machine.default_gateway("web") == "10.5.0.1", DEADLINE_S)


def test_firewall_that_others_flushed_is_put_back(watched: Watched) -> None:
    def rules() -> str:
        return watched.machine.run("H", "nft", "list", "table", "inet", "reconciler", check=False).stdout

    before = rules()
    watched.machine.run("H", "nft", "flush", "ruleset")

    assert eventually(lambda: rules() == before, DEADLINE_S)
    watched.machine.run("H", "nft", "flush", "set", "inet", "reconciler", "bridges")
    assert eventually(lambda: rules() == before, DEADLINE_S)


def test_status_that_others_damaged_is_right_after_any_pass(watched: Watched) -> None:
    status = watched.machine.status_dir
    files = [status / "summary.json", status / "networks/lan.json", status / "attachments/web.json"]
    before = [file.read_bytes() for file in files]
    last = 0

    def is_right_after_a_pass() -> bool:
        """Have a pass made that finds nothing to do on the host."""
        nonlocal last
        last += 1
        watched.ip("H", "address", "add", f"192.0.2.{last}/32", "dev", "lo")
        return eventually(lambda: [file.read_bytes() for file in files if file.exists()] == before, DEADLINE_S)

    for file in files:
        with file.open("r+") as opened:
            opened.write("damaged")
        assert is_right_after_a_pass(), file
        file.unlink()
        assert is_right_after_a_pass(), file


def test_two_writers_that_fight_are_told_so_until_a_person_asks_for_another_try(
    watched: Watched, reconcile: Reconcile
) -> None:
    def fight() -> bool:
        watched.machine.run("H", "ip", "link", "set", "br-lan", "mtu", "1300", check=False)
        return "br-lan" in json.dumps(watched.network("lan"))

    assert eventually(fight, 30, every_s=0.1)
    assert "somebody else keeps changing it" in json.dumps(watched.network("lan"))
    reconcile.ok("retry", "lan")
    assert eventually(lambda: watched.machine.ip_json("H", "link", "show", "br-lan")[0]["mtu"] == 1500, DEADLINE_S)


def test_process_that_was_restarted_is_attached_again(
    start: Callable[[], Watched], reconcile: Reconcile, tmp_path: Path
) -> None:
    pidfile = tmp_path / "pid"

    def begin() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(["unshare", "-n", "sleep", "1000"])
        pidfile.write_text(f"{process.pid}\n")
        return process

    first = begin()
    reconcile.write(lan=LAN, web=WEB.replace("{web: {", f"{{web: {{sandbox: {{pidfile: {pidfile}}}, "))
    watched = start()
    try:
        assert eventually(lambda: watched.answers("10.5.0.10"), DEADLINE_S)
        first.kill()
        first.wait()
        assert eventually(lambda: not watched.answers("10.5.0.10"), DEADLINE_S)
        second = begin()
        try:
            assert eventually(lambda: watched.answers("10.5.0.10"), DEADLINE_S)
        finally:
            second.kill()
            second.wait()
    finally:
        first.kill()
        first.wait()


def test_killed_watcher_leaves_the_networks_and_the_next_goes_on(
    watched: Watched, start: Callable[[], Watched]
) -> None:
    watched.process.kill()
    watched.process.wait()
    assert watched.answers("10.5.0.10")
    watched.ip("H", "link", "del", "br-lan")

    start()

    assert eventually(lambda: watched.answers("10.5.0.10"), DEADLINE_S)


def test_signals_are_heeded_and_a_second_watcher_is_refused(watched: Watched) -> None:
    assert watched.reconcile("watch").exit_code == 75
    watched.machine.run("H", "sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward")  # of which no event tells

    watched.process.send_signal(signal.SIGHUP)

    assert eventually(
        lambda: watched.machine.run("H", "cat", "/proc/sys/net/ipv4/ip_forward").stdout.strip() == "1", DEADLINE_S
    )
    watched.process.send_signal(signal.SIGTERM)
    assert exit_code_of(watched.process) == 0
    assert watched.answers("10.5.0.10"), "the networks stay"


def test_suspended_network_is_left_alone_until_resumed(watched: Watched) -> None:
    watched.reconcile.ok("suspend", "lan", "--reason", "maintenance")
    assert eventually(lambda: "maintenance" in json.dumps(watched.network("lan")), 4 * HEARTBEAT_S)
    watched.ip("H", "link", "set", watched.near_end(), "down")
    assert not eventually(lambda: watched.answers("10.5.0.10"), 1.5)

    watched.reconcile.ok("resume", "lan")

    assert eventually(lambda: watched.answers("10.5.0.10"), 4 * HEARTBEAT_S)
