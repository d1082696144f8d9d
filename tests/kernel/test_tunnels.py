"""Who may send frames into an overlay network: the cluster's hosts, and nobody else who can reach a host's UDP port."""

from __future__ import annotations

import json
import socket
import struct
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.cluster import Cluster, cluster_of, opened_store
from tests.machine import Machine
from tests.underlay import SWITCH
from tests.waiting import patient

pytestmark = pytest.mark.kernel

SPECS = """
networks:
  net: {driver: overlay, internal: true, ipam: {config: [{subnet: 10.0.9.0/24}]}}
  lan: {ipam: {config: [{subnet: 10.7.7.0/24}]}}
attachments:
  one: {hosts: [alpha], networks: [net]}
  two: {hosts: [beta], networks: {net: {mac_address: "02:42:0a:00:09:63"}}}
  evil: {hosts: [alpha], networks: [lan]}
  fiend: {hosts: [beta], networks: [lan]}
"""
MAC = bytes.fromhex("02420a000963")
PORT = 7777
VXLAN = 4789


def frame(vni: int, target: str, text: bytes) -> bytes:
    """Give what VXLAN carries in UDP: a broadcast-free Ethernet frame with a UDP datagram from nobody to `target`."""
    udp = struct.pack("!4H", PORT, PORT, 8 + len(text), 0) + text
    addresses = ip_address("10.0.9.200").packed + ip_address(target).packed
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP, 0) + addresses
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + head[12:]
    return struct.pack("!II", 0x08000000, vni << 8) + MAC + bytes.fromhex("024200000001") + b"\x08\x00" + head + udp


def arriving(cluster: Cluster, vni: int, target: str) -> set[str]:
    """Let everybody send a frame into `net`, and a member a datagram after them; give whose came to `two`."""
    attempts = (
        ("evil", "198.51.100.2", "masqueraded"),
        ("fiend", "198.51.100.2", "from a bridge to the uplink"),
        ("fiend", "10.7.7.1", "from a bridge to its gateway"),
        (SWITCH, "198.51.100.2", "from outside"),
        ("stray", "198.51.100.2", "as a member's host by another link"),
    )
    machine, found = cluster.machine, set()
    with machine.inside("two"), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("", PORT))
        receiver.settimeout(patient(20))
        for ns, address, how in attempts:
            with machine.inside(ns), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(frame(vni, target, how.encode()), (address, VXLAN))
        with machine.inside("one"), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"a member", (target, PORT))
        while "a member" not in found:
            found.add(receiver.recv(100).decode())
    return found


def _add_stray(machine: Machine) -> None:
    """Add somebody on another link of beta who goes by alpha's address; beta takes what comes, whichever way the answer goes."""
    machine.add_namespace("stray")
    machine.add_veth("beta", "stray0", "stray", "eth0")
    machine.ip_batch("stray", "address add 198.51.100.1/24 dev eth0")
    machine.run("beta", "sysctl", "-qw", *(f"net.ipv4.conf.{link}.rp_filter=0" for link in ("all", "stray0")))


def test_frames_are_taken_from_the_clusters_hosts_alone(machine: Machine, tmp_path: Path) -> None:
    with cluster_of(machine, tmp_path, ("alpha", "beta"), "etcd") as cluster:
        cluster.declare(SPECS)
        for name in ("alpha", "beta", "alpha"):
            cluster[name].ok()
        with opened_store(cluster) as store:
            entry = store.get("networks/net")
        assert entry is not None
        vni = json.loads(entry.value)["subnets"][0]["vni"]
        target = cluster["beta"].endpoints("net")["two"]
        assert cluster.ping("one", target)
        _add_stray(machine)

        assert arriving(cluster, vni, target) == {"a member"}

        for host in ("alpha", "beta"):
            for chain in ("input", "tunnel_forward"):
                machine.run(host, "nft", "flush", "chain", "inet", "reconciler", chain)
        everybody = {"masqueraded", "from a bridge to the uplink", "from a bridge to its gateway", "from outside"}
        everybody.add("as a member's host by another link")
        assert arriving(cluster, vni, target) == {*everybody, "a member"}
        for host in ("alpha", "beta"):
            cluster[host].ok()
        assert arriving(cluster, vni, target) == {"a member"}
