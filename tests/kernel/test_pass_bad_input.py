"""What is wrong is named, with the right exit code; everything else is applied, and nothing foreign is touched."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from reconciler.errors import ExitCode
from tests.machine import Machine
from tests.pipeline.forked import ForkedReconcile, background_sleep
from tests.pipeline.handicaps import as_nobody, without_nft
from tests.pipeline.host_view import everything, namespace, settled
from tests.waiting import eventually

pytestmark = pytest.mark.kernel

GOOD = """
networks:
  good: {ipam: {config: [{subnet: 10.1.0.0/24}]}}
attachments:
  fine: {networks: {good: {}}}
  other: {networks: {good: {}}}
"""


def test_bad_spec_beside_good_ones_is_named_and_the_good_ones_are_applied(
    forked: ForkedReconcile, machine: Machine, uplink: str
) -> None:
    forked.write(good=GOOD, bad="networks: {bad: [")

    ran = forked()

    assert ran.exit_code == ExitCode.BAD_SPECS, ran.text
    assert "bad.yaml:2:1: bad YAML" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert machine.ping("fine", "10.1.0.3")
    assert forked("validate").exit_code == ExitCode.BAD_SPECS
    again = forked()
    assert (again.exit_code, again.writes) == (ExitCode.BAD_SPECS, ())


def test_default_bridge_stays_closed_when_the_file_that_says_so_cannot_be_read(
    forked: ForkedReconcile, machine: Machine, host_ns: str
) -> None:
    closed = 'networks: {bridge: {driver_opts: {com.docker.network.bridge.enable_icc: "false"}}}\n'
    members = "attachments: {a: {}, b: {}}\n"
    forked.write(bridge=closed, members=members)
    forked.ok()
    before = settled(lambda: everything(machine, host_ns))

    forked.write(bridge=closed + "networks: [", members=members)

    assert forked().exit_code == ExitCode.BAD_SPECS

    assert settled(lambda: everything(machine, host_ns)) == before
    assert not machine.ping("a", "172.17.0.3", deadline_s=1)


@pytest.mark.parametrize("fault", ["cannot be read", "its new port is taken", "its network is gone"])
def test_a_fault_of_one_attachment_takes_nothing_from_what_runs(
    fault: str, forked: ForkedReconcile, machine: Machine, host_ns: str, uplink: str
) -> None:
    """`--bridge none`: whatever the host has beside is there for this attachment alone."""
    networks = "networks: {front: {ipam: {config: [{subnet: 10.1.0.0/24}]}}}\n"
    web = 'attachments: {web: {networks: {front: {}}, ports: ["8080:80"]}}'
    forked.write(networks=networks, web=web)
    forked.ok("--bridge", "none")
    before = settled(lambda: everything(machine, host_ns))
    shown = forked.ok("network", "inspect", "front").stdout

    with machine.tcp_server(host_ns, "0.0.0.0", 99):
        match fault:
            case "cannot be read":
                forked.write(networks=networks, web=web.replace("80:80", "80:http"))
            case "its new port is taken":
                forked.write(networks=networks, web=web.replace("8080:", "99:"))
            case "its network is gone":
                bridge = "networks: {other: }\n"
                forked.write(networks=bridge, web=web.replace("8080:", "99:").replace("front", "other"))
        failed = forked("--bridge", "none")

    assert failed.exit_code in (ExitCode.BAD_SPECS, ExitCode.FAILED), failed.text
    after = settled(lambda: everything(machine, host_ns))
    if fault != "its network is gone":  # then the other one is made
        assert after == before
        assert forked.ok("network", "inspect", "front").stdout == shown
    with machine.tcp_server("web", "0.0.0.0", 80):
        for client, address in (("H", "127.0.0.1"), ("H", "192.0.2.1"), (uplink, "192.0.2.1")):
            assert machine.tcp(client, address, 8080) is not None, (client, address)


def _bridge_in_the_way(machine: Machine) -> None:
    machine.run("", "ip", "-n", "H", "link", "add", "docker0", "type", "bridge")
    machine.run("", "ip", "-n", "H", "address", "add", "172.17.0.1/16", "dev", "docker0")


def _veth_in_the_way(machine: Machine) -> None:
    machine.run("", "ip", "-n", "H", "link", "add", "docker0", "type", "veth", "peer", "docker1")


@pytest.mark.parametrize("prepare", [_bridge_in_the_way, _veth_in_the_way], ids=["a bridge", "another kind of link"])
def test_foreign_docker0_is_reported_and_left_as_it_is(
    prepare: Callable[[Machine], None], forked: ForkedReconcile, machine: Machine, host_ns: str
) -> None:
    prepare(machine)
    foreign = machine.ip_json(host_ns, "-details", "address", "show", "docker0")
    forked.write(good=GOOD, default="attachments: {lost: {}}")

    for _ in range(2):
        ran = forked()

        assert ran.exit_code == ExitCode.FAILED
        assert "docker0" in ran.stderr
        assert "not ours" in ran.stderr
        assert machine.ip_json(host_ns, "-details", "address", "show", "docker0") == foreign
        assert machine.ping("fine", "10.1.0.3")
    assert ran.writes == ()

    forked.ok("down")
    assert machine.ip_json(host_ns, "-details", "address", "show", "docker0") == foreign


@pytest.mark.parametrize("kind", ["a file", "a link"])
def test_foreign_file_below_etc_netns_is_reported_and_left_as_it_is(
    kind: str, forked: ForkedReconcile, machine: Machine
) -> None:
    path = machine.etc_netns_dir / "fine" / "hosts"
    path.parent.mkdir(parents=True)
    if kind == "a file":
        path.write_text("192.0.2.7 theirs\n")
    else:
        path.symlink_to("/etc/hostname")
    stamp = (path.lstat().st_mtime_ns, path.lstat().st_ino, path.is_symlink())
    forked.write(good=GOOD)

    ran = forked()

    assert ran.exit_code == ExitCode.FAILED
    assert f"{path} is in the way and not ours" in ran.stderr
    assert "not ours" in ran.stderr
    assert machine.links("other") == ["eth0", "lo"]
    forked.ok("down")
    assert (path.lstat().st_mtime_ns, path.lstat().st_ino, path.is_symlink()) == stamp


def test_foreign_nft_table_of_our_name_in_another_family_is_left_alone(
    forked: ForkedReconcile, machine: Machine, host_ns: str
) -> None:
    machine.run(host_ns, "nft", "add table ip reconciler; add table inet theirs; add chain inet theirs c")
    tables = (("ip", "reconciler"), ("inet", "theirs"))
    foreign = [machine.run(host_ns, "nft", "list", "table", *which).stdout for which in tables]
    forked.write(good=GOOD)

    forked.ok()
    forked.ok("down")

    assert [machine.run(host_ns, "nft", "list", "table", *which).stdout for which in tables] == foreign


def test_sandbox_that_is_not_there_is_reported_and_the_others_go_on(forked: ForkedReconcile, machine: Machine) -> None:
    forked.write(good=GOOD, bad="attachments: {gone: {sandbox: {pid: 4194000}, networks: {good: {}}}}")

    ran = forked()

    assert ran.exit_code == ExitCode.FAILED
    assert "gone" in ran.stderr
    assert machine.ping("fine", "10.1.0.4") or machine.ping("fine", "10.1.0.3")
    assert forked().writes == ()


def test_sandbox_that_vanished_is_reported_and_nothing_of_it_stays(forked: ForkedReconcile, machine: Machine) -> None:
    machine.add_namespace("theirs")
    forked.write(good=GOOD, theirs="attachments: {ann: {sandbox: {netns: /run/netns/theirs}, networks: {good: {}}}}")
    forked.ok()
    before = set(machine.links("H"))

    machine.delete_namespace("theirs")
    ran = forked()

    assert ran.exit_code == ExitCode.FAILED
    assert "/run/netns/theirs" in ran.stderr
    assert eventually(lambda: len(before - set(machine.links("H"))) == 1)  # the kernel takes its time
    assert machine.ping("fine", "10.1.0.3") or machine.ping("fine", "10.1.0.4")


@pytest.mark.parametrize("sandbox", ["/run/netns/H", "H"], ids=["by path", "by name"])
def test_sandbox_that_is_the_hosts_own_is_refused(sandbox: str, forked: ForkedReconcile, machine: Machine) -> None:
    host = machine.links("H")
    forked.write(good=GOOD, bad=f"attachments: {{self: {{sandbox: {{netns: {sandbox}}}, networks: {{good: {{}}}}}}}}")

    ran = forked()

    assert ran.exit_code == ExitCode.FAILED
    assert "host" in ran.stderr
    assert "eth0" not in machine.links("H")
    assert set(host) <= set(machine.links("H"))
    assert machine.ping("fine", "10.1.0.3") or machine.ping("fine", "10.1.0.4")


def test_two_attachments_with_one_sandbox_are_refused(forked: ForkedReconcile, machine: Machine) -> None:
    machine.add_namespace("shared")
    forked.write(
        good=GOOD,
        bad="attachments:\n"
        "  a: {sandbox: {netns: shared}, networks: {good: {}}}\n"
        "  b: {sandbox: {netns: /run/netns/other-name-of-it}, networks: {good: {}}}\n",
    )
    (machine.netns_dir / "other-name-of-it").symlink_to("shared")

    ran = forked()

    assert ran.exit_code == ExitCode.FAILED, ran.text
    assert "same namespace" in ran.stderr
    assert machine.links("shared") == ["lo"]
    assert machine.links("fine") == ["eth0", "lo"]


@pytest.fixture
def everyones(forked: ForkedReconcile) -> Iterator[ForkedReconcile]:
    """As `forked`, in a folder that any user may enter. Pytest's is for one user, and each pytest that starts makes it so again."""
    with TemporaryDirectory(prefix="reconciler-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield replace(forked, machine=replace(forked.machine, state_dir=folder / "state"), specs=folder / "specs")


@pytest.mark.quick
def test_pass_without_privilege_is_told_and_changes_nothing(
    everyones: ForkedReconcile, machine: Machine, host_ns: str
) -> None:
    everyones.write(good=GOOD)
    before = everything(machine, host_ns)

    for arguments in ((), ("--dry-run",), ("down",)):
        ran = everyones(*arguments, prepare=as_nobody)
        assert ran.exit_code == ExitCode.NO_PRIVILEGE, ran.text
        assert "Traceback" not in ran.stderr
        assert "CAP_NET_ADMIN" in ran.stderr
    assert everything(machine, host_ns) == before
    assert everyones("validate", prepare=as_nobody).exit_code == ExitCode.OK


def test_pass_without_privilege_on_the_own_host_is_told(everyones: ForkedReconcile) -> None:
    """As a plain user who leaves --host-netns out: the namespace is ours already, but nothing may be changed in it."""
    everyones.write(good=GOOD)

    ran = everyones("--host-netns", "/proc/self/ns/net", "--state-dir", "/tmp/nobody-has-this/state", prepare=as_nobody)

    assert ran.exit_code == ExitCode.NO_PRIVILEGE, ran.text
    assert "Traceback" not in ran.stderr


def test_host_without_nft_is_told_and_gets_no_unguarded_network(
    forked: ForkedReconcile, machine: Machine, host_ns: str
) -> None:
    forked.write(good=GOOD, plain="attachments: {alone: {network_mode: none}}")

    ran = forked(prepare=without_nft)

    assert ran.exit_code == ExitCode.UNAVAILABLE, ran.text
    assert "install nftables" in ran.stderr
    assert machine.links(host_ns) == ["lo"]
    assert machine.links("alone") == ["lo"]
    forked.ok()
    assert machine.ping("fine", "10.1.0.3")


def test_spec_folder_that_is_not_there_is_told(forked: ForkedReconcile, tmp_path: Path) -> None:
    ran = forked(specs=tmp_path / "nowhere")

    assert ran.exit_code != ExitCode.OK
    assert str(tmp_path / "nowhere") in ran.stderr


def test_half_done_attachment_is_undone_and_the_others_go_on(
    forked: ForkedReconcile, machine: Machine, host_ns: str
) -> None:
    """The veth pair of `busy` cannot be made: its sandbox has a link of the wanted name, which is down, so no look sees it."""
    machine.add_namespace("busy")
    machine.run("", "ip", "-n", "busy", "link", "add", "eth0", "type", "bridge")
    before = namespace(machine, "busy")
    forked.write(good=GOOD, bad="attachments: {busy: {networks: {good: {interface_name: eth0}}}}")

    ran = forked()

    assert ran.exit_code == ExitCode.FAILED, ran.text
    assert "busy" in ran.stderr
    assert "eth0" in ran.stderr
    assert namespace(machine, "busy") == before
    assert len(machine.ip_json(host_ns, "link", "show", "type", "veth")) == 2
    assert machine.ping("fine", "10.1.0.4") or machine.ping("fine", "10.1.0.3")
    assert "busy" not in machine.run(host_ns, "nft", "list", "ruleset").stdout
    machine.run("", "ip", "-n", "busy", "link", "delete", "eth0")
    forked.ok()
    assert machine.ping("busy", "10.1.0.1")


def test_foreign_link_of_the_wanted_name_in_a_sandbox_is_a_conflict_that_the_plan_tells(
    forked: ForkedReconcile, machine: Machine
) -> None:
    machine.add_namespace("busy")
    machine.add_veth("busy", "eth0", "busy", "peer0")
    before = namespace(machine, "busy")
    forked.write(good=GOOD, bad="attachments: {busy: {networks: {good: {}}}}")

    plan, ran, again = forked("--dry-run"), forked(), forked()

    assert (plan.exit_code, ran.exit_code, again.exit_code) == (ExitCode.FAILED,) * 3
    assert "eth0" in ran.stderr
    assert "not ours" in ran.stderr
    assert again.writes == ()
    assert settled(lambda: namespace(machine, "busy")) == before
    assert machine.ping("fine", "10.1.0.4") or machine.ping("fine", "10.1.0.3")


def test_sandbox_that_refuses_a_setting_is_undone_and_the_others_go_on(
    forked: ForkedReconcile, machine: Machine, host_ns: str
) -> None:
    forked.write(good=GOOD, bad="attachments: {odd: {sysctls: {net.ipv4.no_such_setting: 1}, networks: {good: {}}}}")

    ran = forked()

    assert ran.exit_code == ExitCode.FAILED, ran.text
    assert "no_such_setting" in ran.stderr
    assert "odd" not in machine.namespaces()
    assert "odd" not in machine.run(host_ns, "nft", "list", "ruleset").stdout
    assert len(machine.ip_json(host_ns, "link", "show", "type", "veth")) == 2
    assert machine.ping("fine", "10.1.0.4") or machine.ping("fine", "10.1.0.3")
    (forked.specs / "bad.yaml").write_text("attachments: {odd: {networks: {good: {}}}}")
    forked.ok()
    assert machine.ping("odd", "10.1.0.1")


def test_pid_and_pidfile_of_one_process_are_the_same_sandbox(
    forked: ForkedReconcile, machine: Machine, tmp_path: Path
) -> None:
    with background_sleep("unshare", "--net") as pid:
        (tmp_path / "pid").write_text(str(pid))
        assert settled(lambda: os.readlink(f"/proc/{pid}/ns/net")) != os.readlink("/proc/self/ns/net")
        forked.write(
            good=GOOD,
            bad=f"attachments: {{a: {{sandbox: {{pid: {pid}}}}}, b: {{sandbox: {{pidfile: {tmp_path}/pid}}}}}}",
        )
        ran = forked()

    assert ran.exit_code == ExitCode.FAILED
    assert "same namespace" in ran.stderr
