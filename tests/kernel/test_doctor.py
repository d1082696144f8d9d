"""Broken hosts: doctor names the cause, and what it prints as a command takes it away."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

import reconciler.doctor.limits as of_limits
from reconciler.doctor.finding import Finding
from reconciler.doctor.limits import KernelLimits
from tests.command_line import Reconcile
from tests.machine import Machine
from tests.private_namespaces import CLONE_NEWUSER, unshare

pytestmark = pytest.mark.kernel

SPECS = """
networks:
  web: {}
attachments:
  a: {networks: [web], ports: ["8080:80"]}
"""


def findings(reconcile: Reconcile, exit_code: int | None = None) -> list[dict[str, Any]]:
    done = reconcile("doctor", "--format", "json")
    assert exit_code in (None, done.exit_code), done.text
    found: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
    return [each for each in found if each["severity"] != "note"]


def mended(reconcile: Reconcile, machine: Machine, check: str, *said: str) -> None:
    """Insist that one check alone complains, in these words, and no longer after its commands were run as printed."""
    (found,) = findings(reconcile)
    assert found["check"] == check, found
    assert all(word in found["what"] for word in said), found
    for command in found["mend"]:
        machine.run("H", "sh", "-ec", command)
    assert findings(reconcile, 0) == []


def test_what_others_did_to_a_host_is_named_and_taken_away_by_the_printed_command(
    machine: Machine, reconcile: Reconcile, uplink: str
) -> None:
    reconcile.write(web=SPECS)
    reconcile.ok()
    machine.run(uplink, "ip", "route", "add", "172.16.0.0/12", "via", "192.0.2.1")
    assert findings(reconcile, 0) == []

    def is_outside_reached() -> bool:
        return machine.run("a", "ping", "-c1", "-W1", "192.0.2.2", check=False).returncode == 0

    machine.run("H", "sysctl", "-w", "net.ipv4.ip_forward=0")
    mended(reconcile, machine, "sysctls", "ip_forward is 0")

    machine.run("H", "sysctl", "-w", "net.ipv4.conf.uplink0.forwarding=0")
    mended(reconcile, machine, "sysctls", "uplink0")

    machine.run("H", "nft", "-f", "-", stdin=FOREIGN)
    assert not is_outside_reached()
    mended(reconcile, machine, "firewall", "chain forward of table inet theirs", "reject")
    assert is_outside_reached()

    machine.run("H", "nft", "-f", "-", stdin=FOREIGN_BRIDGE)
    mended(reconcile, machine, "firewall", "table bridge theirs", "policy drop")
    machine.run("H", "nft", "delete", "table", "bridge", "theirs")

    for program in ("iptables-legacy", "iptables-nft"):
        if shutil.which(program) is not None:
            machine.run(
                "H", "sh", "-ec", f"{program} -P FORWARD DROP; {program} -A FORWARD -m state --state INVALID -j DROP"
            )
            assert not is_outside_reached()
            mended(reconcile, machine, "firewall", "chain FORWARD", "policy drop")
            assert is_outside_reached()

    machine.add_veth("H", "second0", uplink, "second1")
    machine.run("H", "ip", "route", "add", "default", "dev", "second0", "metric", "9")
    machine.run("H", "sysctl", "-w", "net.ipv4.conf.uplink0.rp_filter=1")
    machine.run("H", "sysctl", "-w", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.second0.rp_filter=0")
    mended(reconcile, machine, "sysctls", "rp_filter is strict on uplink0")


FOREIGN_BRIDGE = """
table bridge theirs {
  chain forward {
    type filter hook forward priority 0; policy drop;
    iifname "vnet*" accept
    ether type arp accept
  }
}
"""

FOREIGN = """
table inet theirs {
  chain forward {
    type filter hook forward priority 0; policy accept;
    ct state vmap { established : accept, related : accept, invalid : drop }
    iifname "lo" accept
    jump others
  }
  chain others {
    ip saddr 203.0.113.0/24 return
    counter reject with icmpx admin-prohibited
  }
}
"""


def test_what_others_took_from_a_host_is_named_and_given_back_by_the_printed_command(
    machine: Machine, reconcile: Reconcile, uplink: str
) -> None:
    """Port 53 of a sandbox, the way to a subnet, room for packets, the cluster's store."""
    machine.add_namespace("a")
    with machine.inside("H"), socket.create_server(("0.0.0.0", 8080)):
        reconcile.write(web=SPECS)
        (taken,) = findings(reconcile, 1)
    assert taken["check"] == "specs"
    assert ("8080" in taken["what"], f"process {os.getpid()} " in taken["what"]) == (True, True), taken
    holder = subprocess.Popen(["ip", "netns", "exec", "a", sys.executable, "-c", LISTENING], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    try:
        reconcile.write(web=SPECS)
        assert "it has no name service" in reconcile().stderr
        mended(reconcile, machine, "names", "attachment a", f"process {holder.pid} ")
    finally:
        holder.kill()
        holder.communicate()

    machine.run("H", "ip", "route", "add", "172.18.3.0/24", "dev", "uplink0")
    (found,) = findings(reconcile, 1)
    assert (found["check"], "172.18.3.0/24 by uplink0" in found["what"]) == ("pools", True)
    subnet = found["why"].partition(", as ")[2].partition(",")[0]
    reconcile.write(web=SPECS.replace("web: {}", f"web: {{ipam: {{config: [{{subnet: {subnet}}}]}}}}"))
    reconcile.ok()
    assert findings(reconcile, 0) == []

    reconcile.write(web=SPECS.replace("web: {}", "web: {driver_opts: {com.docker.network.driver.mtu: '9000'}}"))
    machine.run("H", "ip", "route", "delete", "172.18.3.0/24")
    reconcile.ok()
    mended(reconcile, machine, "mtu", "web", "uplink0")

    done = reconcile("--cluster-store", "etcd://127.0.0.1:1/x", "doctor", "--format", "json")
    assert [
        each["what"].partition(":")[0] for each in json.loads(done.stdout)["findings"] if each["check"] == "store"
    ] == ["the cluster's store at 127.0.0.1"]


LISTENING = """
import signal, socket
held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
held.bind(("0.0.0.0", 53))
print("ready", flush=True)
signal.pause()
"""


def test_few_inotify_instances_are_named_and_raised_by_the_printed_command(tmp_path: Path) -> None:
    """The limit is one of a user namespace that ends with the test."""

    def judged() -> list[Finding]:
        watched = of_limits._watched([str(tmp_path)])
        instances = of_limits._lowest(Path("/"), of_limits._INSTANCES)
        limits = KernelLimits(folders=1, watched=watched or 0, has_instance=watched is not None, instances=instances)
        return [*of_limits.judge(limits)]

    def in_child() -> int:
        uid = os.getuid()
        unshare(CLONE_NEWUSER)
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/sys/user/max_inotify_instances").write_text("0")
        (found,) = judged()
        ran = [subprocess.run(["sh", "-ec", command], check=False).returncode for command in found.mend]
        return int(ran != [0] or "user.max_inotify_instances is 0" not in found.what or judged() != [])

    child = os.fork()
    if not child:
        code = 99
        try:
            code = in_child()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_without_rights_doctor_says_so_and_changes_nothing(machine: Machine, reconcile: Reconcile) -> None:
    done = machine.run(
        "H",
        *("setpriv", "--bounding-set", "-all", "--inh-caps", "-all", "--reuid", "65534", "--clear-groups"),
        *(sys.executable, "-m", "reconciler", "--specs", "/nowhere", "--state-dir", "/nowhere", "doctor"),
        check=False,
    )

    assert done.returncode == 1, done.stdout + done.stderr
    assert "this process lacks CAP_NET_ADMIN and CAP_SYS_ADMIN" in " ".join(done.stdout.split())
    assert "# sudo " in done.stdout


PLANTED = """
# the old api_key: comment-planted
networks:
  web: {labels: {password: label-planted, odd: 5f4dcc3b5aa765d61d8327deb882cf99}}
  plug:
    driver: nosuch
    driver_opts: {secret: "opt\\"quoted-planted", url: "https://me:url-planted@example.org/", words: "two words-planted"}
    ipam: {driver: nosuch, options: {user: "u", passwd: ipam-planted}}
attachments:
  a: {networks: {plug: {driver_opts: {token: endpoint-planted}}}}
  b: {networks: [web]}
"""
TEMPLATE = "networks:\n  {{ name }}: {labels: {auth-token: '{{ token }}'}}\n"
VARIABLES = "name: made\ntoken: variable-planted\n"
BROKEN = "networks: [\nprivate_key: |\n  block-planted\n  block-planted too\n"


def test_a_bundle_has_what_a_report_needs_and_no_secret(
    machine: Machine, reconcile: Reconcile, uplink: str, tmp_path: Path
) -> None:
    """Secrets are planted wherever one may stand, and looked for as they were planted, quoted and in base64."""
    del uplink
    reconcile.write(planted=PLANTED)
    (reconcile.specs / "made.yaml.j2").write_text(TEMPLATE)
    (reconcile.specs / "vars.yaml").write_text(VARIABLES)
    reconcile("--prune-limit", "9,99%")
    (reconcile.specs / "broken.yaml").write_text(BROKEN)
    (tmp_path / "secret").write_text("user:file-planted")
    events = machine.state_dir / "events.ndjson"
    with events.open("a") as journal:
        journal.write(
            '{"what": "failed", "message": "fetch https://x:journal-planted@example.org: token=journal-planted2"}\n'
        )
    (machine.run_dir / "dns" / "server.log").write_text(
        "Authorization: Bearer log-planted\nfile-planted, env-planted\n"
    )
    summary = machine.status_dir / "summary.json"
    summary.write_text(summary.read_text().replace("{", '{"clientSecret": ["status-planted"],', 1))
    file = tmp_path / "report.tar.gz"
    environment = {"DB_PASSWORD": "env-planted", "RECONCILE_CLUSTER_STORE_OPT": f"kv.secretfile={tmp_path}/secret"}
    run = ("--cluster-store", "etcd://127.0.0.1:1/x", "doctor", "--bundle", str(file))

    done = reconcile(*run, env=environment)

    assert done.exit_code == 1, done.text
    assert file.stat().st_mode & 0o777 == 0o600
    with tarfile.open(file) as archive:
        members = {m.name.removeprefix("report/"): archive.extractfile(m) for m in archive.getmembers()}
        texts = {name: opened.read().decode() for name, opened in members.items() if opened is not None}
    expected = (
        "README",
        "host/versions.json",
        "host/findings.json",
        "host/settings.json",
        "host/plan.json",
        "events.ndjson",
        "logs/server.log",
    )
    kernel = ("links", "addresses", "routes", "nft-inet", "nft-chains")
    specs = ("planted.yaml", "made.yaml.j2", "vars.yaml", "broken.yaml")
    assert {
        *expected,
        *(f"kernel/{name}.json" for name in kernel),
        *(f"specs/{name}" for name in specs),
    } <= texts.keys()
    assert "missing.txt" not in texts
    everything = "\n".join((*texts, *texts.values()))
    coded = [b64encode(each.encode()).decode()[4:-4] for each in ("user:file-planted", "env-planted")]
    assert [word for word in ("planted'", "5f4dcc3b5aa765d6", *coded) if word in everything] == []
    assert re.findall(r".*-planted.*", everything) == []
    assert "subnet" in texts["status/networks/web.json"].lower()
    assert texts["specs/planted.yaml"].count("[removed]") >= 8
