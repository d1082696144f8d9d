"""Play examples/overlay as a transcript: `make demo-overlay`. Three hosts, and Consul, etcd and ZooKeeper in turn.

As in the other demo everything happens in namespaces that vanish with this process, and each step says what it expects.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.cluster import Cluster, cluster_of
from tests.kv_servers.servers import STARTERS
from tests.machine import Machine
from tests.stage import Stage, perform

EXAMPLE: Final = Path(__file__).parent.parent / "examples" / "overlay"
HOSTS: Final = ("alpha", "beta", "gamma")
NETWORK: Final = "my-multi-host-network"


def play(machine: Machine) -> None:
    """Go through all steps with each store."""
    for provider in sys.argv[1:] or STARTERS:
        play_with(machine, provider)
        machine.clean()


def play_with(machine: Machine, provider: str) -> None:
    """Go through all steps with one store. Raises DemoFailed at the first that does not come out as it should."""
    with tempfile.TemporaryDirectory(dir="/run") as folder:
        Stage(machine, {}).say(f"Three hosts on a switch, and a {provider} server there.")
        with cluster_of(machine, Path(folder), HOSTS, provider) as cluster:
            _play(cluster)


def _play(cluster: Cluster) -> None:
    stages = {name: Stage(cluster.machine, _settings(cluster, name)) for name in HOSTS}
    alpha = stages["alpha"]
    alpha.say("alpha declares the network; beta and gamma join it.")
    for name in HOSTS:
        alpha.run("cat", str(EXAMPLE / name / "overlay.yaml"))
    for name, stage in stages.items():
        stage.say(f"On {name}:")
        stage.run("reconcile")
    for stage in (alpha, stages["beta"]):
        stage.run("reconcile")  # who came first looks again for who came later; `reconcile watch` does so by itself
    alpha.run("reconcile", "node", "ls", expect=lambda out: all(name in out for name in HOSTS))
    stages["gamma"].run("reconcile", "network", "ls", expect=lambda out: "global" in out)

    alpha.say("Containers on all hosts reach each other by name.")
    for sandbox, target in (
        ("container1", "container2"),
        ("container1", "container3"),
        ("container2", "first"),
        ("container3", "container1"),
    ):
        alpha.ping(sandbox, target, answers=True)

    alpha.say("The network is the same everywhere; endpoints on other hosts are listed with their addresses.")
    stages["beta"].run("reconcile", "network", "inspect", NETWORK, expect=lambda out: out.count('"ep-') == 2)

    alpha.say("Another network with the same subnet is another world.")
    alpha.ping("container4", "10.0.9.2", answers=False)
    alpha.ping("container1", "10.0.9.77", answers=False)

    alpha.say("All of it goes away.")
    for stage in stages.values():
        stage.run("reconcile", "down")
    alpha.run("ip", "netns", "list", expect=lambda out: "container" not in out and "ov-" not in out)


def _settings(cluster: Cluster, name: str) -> dict[str, str]:
    host = cluster[name]
    options = dict(zip(host.options[::2], host.options[1::2], strict=True))
    return {
        "RECONCILE_HOST": name,
        "RECONCILE_SPECS": str(EXAMPLE / name),
        "RECONCILE_HOST_NETNS": str(cluster.machine.path(name)),
        "RECONCILE_STATE_DIR": str(host.reconcile.machine.state_dir),
        "RECONCILE_RUN_DIR": str(host.reconcile.machine.run_dir),
        "RECONCILE_CLUSTER_STORE": options["--cluster-store"],
        "RECONCILE_CLUSTER_ADVERTISE": options["--cluster-advertise"],
    }


if __name__ == "__main__":
    sys.exit(perform(play))
