"""What one look at the host says."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest

from reconciler.errors import KernelError, PlanError, SandboxMissing
from reconciler.kernel.links import decode_link, dump_links
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import Address, Bridge, LinkUp, Route, Sysctl
from reconciler.model.wanted import EndpointWanted, NetworkMode, SandboxKind
from tests.kernel.engine import NOW, Engine, attachment, operation
from tests.kernel.test_links import BRIDGE, pair_to
from tests.waiting import patient

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.kernel


def test_facts_of_a_host_with_an_uplink(engine: Engine, uplink: str) -> None:
    engine.machine.run("H", "ip", "link", "set", "uplink0", "mtu", "1450")
    engine.create(BRIDGE, Address(ns=HOST, ifname=BRIDGE.ifname, interface=ip_interface("10.9.0.1/24")))
    engine.machine.run("H", "ip", "route", "add", "10.77.0.0/16", "via", "192.0.2.2")
    engine.machine.run("H", "ip", "route", "add", "blackhole", "10.78.0.0/16")

    host = engine.observe().host

    assert (host.name, host.instance, host.now) == ("alpha", engine.settings.instance, NOW)
    assert host.uplink_mtu == 1450
    assert host.has_ipv6
    assert dict(host.routes) == {
        ip_network("192.0.2.0/24"): "uplink0",
        ip_network("10.77.0.0/16"): "uplink0",
        ip_network("10.78.0.0/16"): "",
        ip_network("2001:db8::/64"): "uplink0",
        ip_network("fe80::/64"): "uplink0",
    }


def test_host_without_a_default_route_has_no_uplink(engine: Engine) -> None:
    assert engine.observe().host.uplink_mtu is None


def test_foreign_links_and_routes_are_seen_and_not_ours(engine: Engine, uplink: str) -> None:
    seen = engine.observe().seen

    link, default = seen["Bridge", "", "uplink0"], seen["Route", "", "0.0.0.0/0"]
    assert isinstance(link.object, Bridge)
    assert isinstance(default.object, Route)
    assert (link.is_ours, default.is_ours) == (False, False)
    assert not any(isinstance(found.object, Address) for found in seen.values())


def test_sandbox_that_is_not_there_yet_is_no_error_when_we_would_make_it(engine: Engine) -> None:
    engine.attachments = [attachment("web"), attachment("db", SandboxKind.PATH, "/nowhere")]

    sandboxes = engine.observe().sandboxes

    assert (sandboxes[NsRef("netns:web")].inode, sandboxes[NsRef("netns:web")].error) == (0, None)
    error = sandboxes[NsRef("path:/nowhere")].error
    assert isinstance(error, SandboxMissing)
    assert "/nowhere" in str(error)


def test_sandbox_in_host_mode_is_not_looked_into(engine: Engine) -> None:
    engine.attachments = [attachment("web", mode=NetworkMode.HOST)]

    assert engine.observe().sandboxes == {}


def test_namespace_that_two_sandboxes_lead_to_is_neithers(engine: Engine) -> None:
    engine.make_sandbox("web")
    path = str(engine.machine.path("web"))
    engine.attachments.append(attachment("db", SandboxKind.PATH, path))

    sandboxes = engine.observe().sandboxes

    assert len(sandboxes) == 2
    for fact in sandboxes.values():
        assert isinstance(fact.error, PlanError)
        assert path in str(fact.error)


def test_hosts_own_namespace_is_no_sandbox(engine: Engine) -> None:
    engine.attachments = [attachment("H")]

    error = engine.observe().sandboxes[NsRef("netns:H")].error

    assert isinstance(error, PlanError)
    assert "network_mode: host" in str(error)


def test_namespace_reached_by_its_path_is_no_orphan(engine: Engine) -> None:
    engine.make_sandbox("web")
    engine.attachments = [attachment("web", SandboxKind.PATH, str(engine.machine.path("web")))]

    assert ("Namespace", "netns:web") not in engine.observe().seen


def test_pair_of_an_orphaned_namespace_still_tells_its_peer(engine: Engine) -> None:
    ns = engine.make_sandbox("web")
    engine.create(BRIDGE, pair_to(ns))
    engine.attachments = []

    assert engine.has(pair_to(ns))
    assert ("LinkUp", ns, "lo") not in engine.observe().seen


def test_foreign_things_in_a_sandbox_are_left_out_or_not_ours(engine: Engine) -> None:
    engine.machine.add_namespace("web")
    engine.attachments = [attachment("web")]
    engine.machine.run("web", "ip", "link", "add", "br9", "up", "type", "bridge")
    engine.machine.run("web", "ip", "address", "add", "10.9.0.2/24", "dev", "br9")
    engine.machine.run("web", "ip", "route", "add", "default", "via", "10.9.0.1")

    observed = engine.observe()

    ns = NsRef("netns:web")
    inside = {key: found.is_ours for key, found in observed.seen.items() if key[1] == ns and key[0] != Sysctl.kind}
    assert inside == {("LinkUp", ns, "lo"): False, ("LinkUp", ns, "br9"): False, ("Route", ns, "0.0.0.0/0"): False}
    assert not observed.sandboxes[ns].is_ours


def test_link_that_is_down_is_not_seen_up(engine: Engine) -> None:
    ns = engine.make_sandbox("web")
    engine.create(BRIDGE, pair_to(ns))

    assert engine.look(LinkUp(ns=ns, ifname="eth0")) is None
    engine.create(LinkUp(ns=ns, ifname="eth0"))
    assert engine.has(LinkUp(ns=ns, ifname="eth0"))


def test_settings_of_links_are_seen_as_they_are_set(engine: Engine) -> None:
    ns = engine.make_sandbox("web")
    engine.create(BRIDGE, pair_to(ns))
    wanted = [
        Sysctl(ns=HOST, name="net/ipv4/conf/br-test/route_localnet", value="1"),
        Sysctl(ns=HOST, name="net/ipv4/ip_forward", value="1"),
        Sysctl(ns=HOST, name="net/ipv6/conf/all/forwarding", value="1"),
        Sysctl(ns=ns, name="net/ipv6/conf/eth0/disable_ipv6", value="1"),
    ]
    assert not any(engine.has(one) for one in wanted)

    outcomes = engine.apply([operation(None, one) for one in wanted])

    assert [outcome.error for outcome in outcomes] == [None] * len(wanted)
    assert engine.has(*wanted)


def test_settings_that_attachments_name_are_read_in_their_sandboxes(engine: Engine) -> None:
    engine.create(BRIDGE, pair_to(engine.make_sandbox("web")))
    option = (
        "com.docker.network.endpoint.sysctls",
        "net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.conf.IFNAME.nothing=1",
    )
    endpoint = EndpointWanted(network="n", options=(option,))
    sysctls = (("net.ipv4.ip_local_port_range", "1024 65000"), ("net.ipv4.conf.eth0/1.rp_filter", "1"))
    engine.attachments = [attachment("web", sysctls=sysctls, endpoints=(endpoint,))]
    ports = Sysctl(ns=NsRef("netns:web"), name="net/ipv4/ip_local_port_range", value="1024 65000")
    martians = Sysctl(ns=NsRef("netns:web"), name="net/ipv4/conf/eth0/log_martians", value="0")

    assert engine.has(martians)
    assert engine.look(ports) is not None
    assert engine.apply([operation(None, ports)])[0].error is None
    assert engine.has(ports)


def test_bad_settings_harm_only_themselves(engine: Engine) -> None:
    ns = engine.make_sandbox("web")
    wanted = [
        Sysctl(ns=ns, name="net/ipv4/no_such_thing", value="1"),
        Sysctl(ns=ns, name="net/../kernel/hostname", value="owned"),
        Sysctl(ns=ns, name="kernel/hostname", value="owned"),
        Sysctl(ns=NsRef("netns:gone"), name="net/ipv4/ip_forward", value="1"),
        Sysctl(ns=ns, name="net/ipv4/ip_forward", value="1"),
    ]

    outcomes = engine.apply([operation(None, one) for one in wanted])

    assert [outcome.error is None for outcome in outcomes] == [False, False, False, False, True]


def test_dump_of_a_changing_host_is_whole(engine: Engine) -> None:
    ns = engine.make_sandbox("web")
    engine.create(BRIDGE, *(pair_to(ns, number, peer_ifname=f"eth{number}") for number in range(1, 120)))
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            for action in ("add", "del"):
                subprocess.run(
                    ["ip", "-n", "H", "link", action, "zz", "type", "bridge"], check=False, capture_output=True
                )

    disturber = threading.Thread(target=come_and_go)
    disturber.start()
    try:
        for _ in range(100):
            names = [link.ifname for link in engine.namespaces.socket(HOST).dump(dump_links(), decode_link)]
            assert len(set(names) - {"zz"}) == 119 + 2
    finally:
        stop.set()
        disturber.join()


def test_vanished_process_of_a_sandbox_is_missing(engine: Engine) -> None:
    with subprocess.Popen(["true"]) as child:
        child.wait()
    engine.attachments = [attachment("web", SandboxKind.PID, str(child.pid))]

    assert isinstance(engine.observe().sandboxes[NsRef(f"pid:{child.pid}")].error, SandboxMissing)


def test_host_can_be_looked_at_without_privileges(engine: Engine) -> None:
    """Sandboxes cannot be entered then, and each says so."""
    engine.make_sandbox("web")
    script = f"""
from pathlib import Path
from reconciler.kernel.netns import Namespaces
from reconciler.model.wanted import *
from reconciler.observe.host import observe_host
from reconciler.observe.memory import Memory
from reconciler.settings import Settings
from tests.waiting import patient
import os
import tests.kernel.engine as engine
os.setgid(65534)
os.setuid(65534)
settings = Settings(host="alpha", state_dir=Path("/nowhere"))
attachments = (engine.attachment("web"), engine.attachment("init", SandboxKind.PID, "{os.getpid()}"))
wanted = WantedState(networks=(), attachments=attachments)
with Namespaces(settings.netns_dir, settings.instance) as namespaces:
    facts, parts = observe_host(wanted, settings, namespaces, engine.NOW, Memory())
print(("Bridge", "", "lo") in parts[3, "host"], *(type(fact.error).__name__ for fact in facts.sandboxes.values()))
"""
    child = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=patient(30), cwd=ROOT
    )

    assert child.stdout == "True PrivilegeError PrivilegeError\n", child.stderr


def test_dump_error_is_the_kernels(engine: Engine) -> None:
    request = dump_links()._replace(body=b"\xff" * 16)

    with pytest.raises(KernelError):
        engine.namespaces.socket(HOST).dump(request, decode_link)
