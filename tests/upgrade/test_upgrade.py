"""From 0.1.0 to what is checked out, and back: the networks stay up, nothing is planned, ids and addresses are the same."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster import Cluster, are_watched, cluster_of
from tests.command_line import Reconcile
from tests.machine import Machine
from tests.upgrade.old import OldReconcile, old_code, old_of
from tests.waiting import exit_code_of

pytestmark = [pytest.mark.kernel, pytest.mark.long]

SPECS = """
networks:
  front:
  back: {internal: true, enable_ipv6: true}
attachments:
  web: {networks: {front: {aliases: [www]}, back: {}}, ports: ["8080:80", "9000-9003:9000-9003/udp"], links: ["db:data"]}
  db: {networks: [front, back]}
  alone: {}
"""
MORE = SPECS + "  late: {networks: [front]}\n"
OVERLAY = """
networks: {over: {driver: overlay}}
attachments: {NAME: {networks: [over]}}
"""


@pytest.fixture(scope="session")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return old_code(tmp_path_factory.mktemp("old"))


@pytest.fixture
def old(reconcile: Reconcile, code: Path) -> OldReconcile:
    return old_of(reconcile, code)


@contextmanager
def answering_all_along(machine: Machine, sandbox: str, *target: str) -> Iterator[None]:
    """Ping meanwhile, twenty times a second; fail if one was lost."""
    command = ["ip", "netns", "exec", sandbox, "ping", "-i0.05", "-W2", *target]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as ping:
        assert ping.stdout is not None
        try:
            while "bytes from" not in (line := ping.stdout.readline()):
                assert line, "never answered"
            yield
        finally:
            ping.send_signal(signal.SIGINT)
        text = ping.stdout.read()
        assert " 0% packet loss" in text, text
    assert ping.returncode == 0


def shown(machine: Machine) -> dict[str, object]:
    """Give what inspect shows of all networks, by name."""
    return {path.stem: json.loads(path.read_text()) for path in (machine.status_dir / "networks").glob("*.json")}


def is_all_but_done(reconcile: Reconcile) -> bool:
    """Return whether at most what each version has of its own is planned.

    That is the rules of our own firewall, exchanged in one transaction, and the name server, which the next one succeeds.
    0.1.0 made the host that it forwarded on a router for others, too.
    """
    planned = reconcile.ok("--dry-run", "--objects").stdout
    operations = re.findall(r"\b(?:create|update|delete|adopt|release) [a-z].*", planned)
    return all(
        re.match(r"update (nft table \w+ reconciler|name tables )|create nft element no_transit", operation)
        for operation in operations
    )


def repairs_while_it_watches(reconcile: Reconcile, machine: Machine) -> None:
    """Delete a link twice: the first may be put back by the first pass. More often would look like somebody who fights."""
    watcher = reconcile.start("watch", stdin=subprocess.DEVNULL)
    try:
        for _ in range(2):
            machine.run("alone", "ip", "link", "delete", "eth0")
            assert machine.ping("alone", "172.17.0.1", deadline_s=20)
    finally:
        watcher.terminate()
        exit_code = exit_code_of(watcher)
    assert exit_code == 0


def test_a_host_is_upgraded_and_downgraded_while_its_networks_stay_up(
    old: OldReconcile, reconcile: Reconcile, machine: Machine
) -> None:
    reconcile.write(web=SPECS)
    old.ok()
    before = shown(machine)
    assert machine.ping("web", "db")
    with answering_all_along(machine, "web", "db"):
        assert is_all_but_done(reconcile)
        reconcile.ok()
        assert shown(machine) == before
        dropping = machine.run("H", "nft", "list", "set", "inet", "reconciler", "no_transit").stdout
        assert "elements = { ipv4 }" in dropping, "what 0.1.0 switched on was off before it"
        reconcile.write(web=MORE)
        reconcile.ok()
        assert machine.ping("late", "web")
        assert is_all_but_done(old)
        reconcile.write(web=SPECS)
        old.ok()
        assert shown(machine) == before
        for program in (old, reconcile):
            repairs_while_it_watches(program, machine)
    reconcile.ok("down")


def test_what_a_later_version_wrote_is_refused_and_left_as_it_is(reconcile: Reconcile, machine: Machine) -> None:
    reconcile.write(web=SPECS)
    reconcile.ok()
    with sqlite3.connect(machine.state_dir / "state.db") as database:
        database.execute("PRAGMA user_version = 2")
    database.close()
    state = {path: path.read_bytes() for path in machine.state_dir.glob("*") if path.is_file()}

    reconcile.write(web=MORE)
    with answering_all_along(machine, "web", "db"):
        for arguments in ((), ("--dry-run",), ("down",), ("watch",)):
            done = reconcile(*arguments)
            assert done.exit_code == 78, done.text
            assert "was written by a later version of this program (format 2, this one knows 1)" in done.stderr

    assert {path: path.read_bytes() for path in machine.state_dir.glob("*") if path.is_file()} == state
    with sqlite3.connect(machine.state_dir / "state.db") as database:
        database.execute("PRAGMA user_version = 1")
    database.close()
    reconcile.ok("down")


@pytest.mark.servers("etcd", "etcd")
def test_a_cluster_of_both_versions_works(machine: Machine, tmp_path: Path, code: Path) -> None:
    with cluster_of(machine, tmp_path, ("alpha", "beta"), "etcd") as cluster:
        alpha, beta = cluster["alpha"], cluster["beta"]
        new = alpha.reconcile
        alpha.reconcile = old_of(new, code)
        alpha.declare(OVERLAY.replace("NAME", "one"))
        beta.declare(OVERLAY.replace("NAME", "two"))
        cluster.watch()
        assert are_watched(cluster)
        assert cluster.ping("one", "two")
        assert cluster.ping("two", "one")

        with answering_all_along(machine, "one", "two"):
            alpha.stop()
            alpha.reconcile = new
            alpha.watch()
            beta.stop()
            beta.reconcile = old_of(beta.reconcile, code)
            beta.watch()
            alpha.declare(
                OVERLAY.replace("{NAME: {networks: [over]}}", "{one: {networks: [over]}, three: {networks: [over]}}")
            )
            assert cluster.ping("two", "three")
        assert _ends_clean(cluster)


def _ends_clean(cluster: Cluster) -> bool:
    for host in cluster.hosts.values():
        host.stop()
        host.ok("down")
    return True
