"""Play the walk-through of specs/ as a transcript: `make demo`.

Everything happens in namespaces that vanish with this process, also on Ctrl-C. Each step says what it expects; the exit status is 1
when an expectation fails.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Final

from tests.machine import Machine
from tests.stage import Stage, bold, perform

SPECS: Final = Path(__file__).parent.parent / "specs"
HOST: Final = "H"


def play(machine: Machine) -> None:
    """Go through all steps. Raises DemoFailed at the first that does not come out as it should."""
    stage = Stage(
        machine,
        {
            "RECONCILE_SPECS": str(SPECS),
            "RECONCILE_HOST_NETNS": str(machine.path(HOST)),
            "RECONCILE_STATE_DIR": str(machine.state_dir),
            "RECONCILE_RUN_DIR": str(machine.run_dir),
        },
    )
    _set_the_stage(stage)
    _from_plan_to_networks(stage)
    _who_reaches_whom(stage)
    _who_knows_whom(stage)
    _drift_is_repaired(stage)
    _all_goes_away(stage)


def _set_the_stage(stage: Stage) -> None:
    stage.say("A namespace plays the host; a namespace beyond it plays the world outside.")
    for ns in (HOST, "world"):
        stage.run("ip", "netns", "add", ns)
        stage.run("ip", "-n", ns, "link", "set", "lo", "up")
    stage.run("ip", "-n", HOST, "link", "add", "uplink0", "type", "veth", "peer", "eth0", "netns", "world")
    for ns, ifname, address in ((HOST, "uplink0", "192.0.2.1/24"), ("world", "eth0", "192.0.2.2/24")):
        stage.run("ip", "-n", ns, "address", "add", address, "dev", ifname)
        stage.run("ip", "-n", ns, "link", "set", ifname, "up")
    stage.run("ip", "-n", HOST, "route", "add", "default", "via", "192.0.2.2")
    for name, value in stage.settings.items():
        print(bold(f"$ export {name}={shlex.quote(value)}"))


def _from_plan_to_networks(stage: Stage) -> None:
    stage.say("What is declared, and what would be done. Nothing is changed yet.")
    for path in sorted(SPECS.glob("*.yaml")):
        print(bold(f"$ cat specs/{path.name}"))
        print(path.read_text(), end="")
    stage.run("reconcile", "validate")
    stage.run("reconcile", "--dry-run", "--detailed-exitcode", exit_code=2)

    stage.say("Do it.")
    stage.run("reconcile")
    stage.run(
        "reconcile",
        "network",
        "ls",
        expect=lambda out: all(n in out for n in ("bridge", "host", "none", "isolated_nw", "intern")),
    )
    stage.run("reconcile", "attachment", "ls")
    stage.run("ip", "-n", HOST, "-brief", "address", expect=lambda out: "docker0" in out and "172.17.0.1/16" in out)
    stage.run("reconcile", "network", "inspect", "bridge", expect=lambda out: '"172.17.0.2/16"' in out)


def _who_reaches_whom(stage: Stage) -> None:
    stage.say("container1 and container2 share the default network; container3 is on another one.")
    stage.ping("container1", "172.17.0.3", answers=True)
    stage.ping("container1", "172.19.0.2", answers=False)
    stage.ping("container1", "192.0.2.2", answers=True)

    stage.say("container3 and container4 are on two networks: isolated_nw leads outside, intern is internal.")
    stage.run("ip", "-n", "container4", "route", expect=lambda out: "default via 172.19.0.1 dev eth0" in out)
    stage.ping("container4", "172.19.0.2", answers=True)
    stage.ping("container4", "172.20.0.2", answers=True)
    stage.run("reconcile", "network", "inspect", "intern", expect=lambda out: '"Internal": true' in out)
    stage.run(
        "reconcile", "exec", "container4", "--", "cat", "/etc/hosts", expect=lambda out: "172.19.0.3\tfourhost" in out
    )


def _who_knows_whom(stage: Stage) -> None:
    stage.say(
        "On networks of their own, sandboxes know each other by name, alias and hostname; the default network has no names."
    )
    stage.run("ip", "netns", "exec", "container4", "cat", "/etc/resolv.conf", expect=lambda out: "127.0.0.11" in out)
    stage.ping("container4", "container3", answers=True)
    stage.ping("container3", "fourth", answers=True)
    stage.run(
        "ip", "netns", "exec", "container3", "getent", "hosts", "fourhost", expect=lambda out: "172.19.0.3" in out
    )
    stage.run(
        "ip", "netns", "exec", "container4", "getent", "hosts", "al.intern", expect=lambda out: "172.20.0.2" in out
    )


def _drift_is_repaired(stage: Stage) -> None:
    stage.say("A second run finds nothing to do.")
    stage.run("reconcile", "--dry-run", "--detailed-exitcode", exit_code=0)

    stage.say("Somebody deletes the bridge of isolated_nw by hand. The next run sees it and mends it.")
    bridge = next(
        name for name in stage.machine.links(HOST) if name.startswith("br-") and _has(stage, name, "172.19.0.1")
    )
    stage.run("ip", "-n", HOST, "link", "delete", bridge)
    stage.run("reconcile", "--dry-run", "--detailed-exitcode", exit_code=2)
    stage.run("reconcile")
    stage.ping("container4", "172.19.0.2", answers=True)


def _has(stage: Stage, ifname: str, address: str) -> bool:
    return address in stage.machine.run("", "ip", "-n", HOST, "address", "show", "dev", ifname).stdout


def _all_goes_away(stage: Stage) -> None:
    stage.say("All that is ours goes away, and nothing else.")
    stage.run("reconcile", "down")
    stage.run("ip", "-n", HOST, "-brief", "link", expect=lambda out: "docker0" not in out and "uplink0" in out)
    stage.run("ip", "netns", "list", expect=lambda out: "container1" not in out)


if __name__ == "__main__":
    sys.exit(perform(play))
