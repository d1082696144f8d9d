"""Links on the default bridge and on user-defined networks, as a sandbox sees them (docs/design/docker.md#links)."""

from __future__ import annotations

import json

import pytest

from tests.command_line import Reconcile
from tests.kernel.firewall_host import BLOCKED_S, filter_bridged
from tests.kernel.test_ports import FILTERING
from tests.machine import Machine
from tests.waiting import eventually

pytestmark = pytest.mark.kernel

DB, WEB, STRANGER = "172.17.0.2", "172.17.0.4", "172.17.0.3"
ONE_TRY = ("env", "RES_OPTIONS=timeout:1 attempts:1")


def specs(
    web: str = 'links: ["db:database"]', db: str = 'hostname: dbhost, expose: ["9000"], ports: ["80"]', **more: str
) -> str:
    """`db` has 172.17.0.2, `stranger` 172.17.0.3, `web` 172.17.0.4, all on the default bridge."""
    icc = more.get("icc", "true")
    return f"""
networks:
  bridge: {{driver_opts: {{com.docker.network.bridge.enable_icc: "{icc}"}}}}
attachments:
  db: {{{db}}}
  stranger: {{}}
  web: {{{web}}}
"""


def hosts_lines(machine: Machine, ns: str) -> list[str]:
    return machine.run(ns, "cat", "/etc/hosts").stdout.splitlines()


def test_linked_name_is_found_in_the_hosts_file(reconcile: Reconcile, machine: Machine) -> None:
    reconcile.write(a=specs())
    reconcile.ok()

    assert hosts_lines(machine, "web")[6] == f"{DB}\tdatabase dbhost db"
    for name in ("database", "dbhost", "db"):
        assert machine.run("web", "getent", "ahostsv4", name).stdout.split()[0] == DB
    assert machine.run("stranger", *ONE_TRY, "getent", "ahostsv4", "database", check=False).returncode != 0


def test_variables_of_links_are_in_a_file_and_in_commands(reconcile: Reconcile, machine: Machine) -> None:
    reconcile.write(a=specs())
    reconcile.ok()

    text = (machine.run_dir / "sandboxes" / "web" / "environment").read_text()
    assert text.splitlines()[0] == f"DATABASE_PORT=tcp://{DB}:80"
    assert f"DATABASE_PORT_9000_TCP_ADDR={DB}" in text.splitlines()
    assert set(text.splitlines()) <= set(reconcile.ok("exec", "web", "--", "env").stdout.splitlines())
    assert "DATABASE" not in reconcile.ok("exec", "db", "--", "env").stdout
    assert not (machine.run_dir / "sandboxes" / "db" / "environment").exists()
    assert not (machine.etc_netns_dir / "web" / "environment").exists()


def test_removed_link_leaves_no_trace(reconcile: Reconcile, machine: Machine) -> None:
    reconcile.write(a=specs(icc="false"))
    reconcile.ok()
    reconcile.write(a=specs(web="", icc="false"))
    reconcile.ok()

    assert not (machine.run_dir / "sandboxes" / "web" / "environment").exists()
    assert "database" not in "".join(hosts_lines(machine, "web"))
    assert "9000" not in machine.run("H", "nft", "list", "ruleset").stdout
    assert reconcile("--dry-run", "--detailed-exitcode").exit_code == 0


def test_hosts_file_follows_the_other_to_its_new_address(reconcile: Reconcile, machine: Machine) -> None:
    reconcile.write(a=specs())
    reconcile.ok()
    assert hosts_lines(machine, "web")[6].startswith(DB)

    reconcile.write(a=specs().replace("  db: {", "  db: {networks: {bridge: {mac_address: '02:00:00:00:00:09'}}, "))
    reconcile.ok()
    reconcile.write(a=specs().replace("networks:\n", "networks:\n", 1).replace("hostname: dbhost", "hostname: newname"))
    reconcile.ok()

    assert hosts_lines(machine, "web")[6] == f"{DB}\tdatabase newname db"


@pytest.mark.parametrize("mode", ["host", "none"])
def test_link_without_a_network_is_refused(reconcile: Reconcile, mode: str) -> None:
    reconcile.write(a=specs(web=f'network_mode: {mode}, links: ["db"]'))

    ran = reconcile("validate")

    assert ran.exit_code == 65
    assert f"conflicting options: {mode} type networking can't be used with links" in ran.stderr + ran.stdout


@FILTERING
def test_link_opens_exposed_ports_where_neighbours_may_not_talk(
    reconcile: Reconcile, machine: Machine, is_filtered: bool
) -> None:
    filter_bridged(machine, is_filtered=is_filtered)
    reconcile.write(a=specs(icc="false"))
    reconcile.ok()

    with machine.tcp_server("db", port=9000), machine.tcp_server("db", port=80), machine.tcp_server("db", port=81):
        assert machine.tcp("web", DB, 9000) == WEB
        assert machine.tcp("web", DB, 80) == WEB
        assert machine.tcp("web", DB, 81, deadline_s=BLOCKED_S) is None
        assert machine.tcp("stranger", DB, 9000, deadline_s=BLOCKED_S) is None
    with machine.tcp_server("web", port=9000):
        assert machine.tcp("db", WEB, 9000, deadline_s=BLOCKED_S) is None


def test_neighbours_that_may_talk_need_no_elements(reconcile: Reconcile, machine: Machine) -> None:
    reconcile.write(a=specs())
    reconcile.ok()

    assert machine.run("H", "nft", "list", "set", "inet", "reconciler", "links4").stdout.count("elements") == 0
    with machine.tcp_server("db", port=81):
        assert machine.tcp("web", DB, 81) == WEB


def test_inspect_shows_links_of_the_default_bridge_beside_the_mode(reconcile: Reconcile, machine: Machine) -> None:
    reconcile.write(a=specs())
    reconcile.ok()

    document = json.loads(reconcile.ok("attachment", "inspect", "web").stdout)[0]
    assert document["HostConfig"]["Links"] == ["/db:/web/database"]
    assert document["NetworkSettings"]["Networks"]["bridge"]["Links"] is None


def test_link_on_a_user_defined_network_is_a_name_alone(reconcile: Reconcile, machine: Machine) -> None:
    reconcile.write(
        a="""
networks: {front: {driver_opts: {com.docker.network.bridge.enable_icc: "false"}}}
attachments:
  db: {networks: [front], expose: ["9000"]}
  web: {networks: [front], links: ["db:database"]}
"""
    )
    reconcile.ok()

    document = json.loads(reconcile.ok("attachment", "inspect", "web").stdout)[0]
    assert document["NetworkSettings"]["Networks"]["front"]["Links"] == ["db:database"]
    assert document["HostConfig"]["Links"] is None
    assert "database" not in "".join(hosts_lines(machine, "web"))
    assert not (machine.run_dir / "sandboxes" / "web" / "environment").exists()
    address = json.loads(reconcile.ok("attachment", "inspect", "db").stdout)[0]["NetworkSettings"]["Networks"]["front"]
    with machine.tcp_server("db", port=9000):
        assert not eventually(lambda: machine.tcp("web", address["IPAddress"], 9000, deadline_s=BLOCKED_S), 0.1)
