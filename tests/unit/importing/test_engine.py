"""What engines said of the scene that they were recorded with is read as that scene."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.importing.carried import carried
from reconciler.importing.engine import read_docker
from reconciler.importing.podman import read_podman
from reconciler.importing.values import Imported
from reconciler.importing.write import stream_text
from reconciler.model.wanted import AttachmentWanted
from reconciler.spec.files import SpecText
from reconciler.spec.load import LoadedSpecs, load_texts

GOLDEN = Path(__file__).parents[1] / "status" / "golden"
RECORDED = {version: json.loads((GOLDEN / f"engine-{version}.json").read_text()) for version in ("20.10.24", "28.5.2")}
PREFIX = "com.docker.network"


def read(told: Mapping[str, Any], **options: Any) -> Imported:
    networks, containers = list(told["networks"].values()), list(told["containers"].values())
    return carried(read_docker(networks, containers, **{"with_stopped": False, **options}), "here")


def loaded(text: str) -> LoadedSpecs:
    found = load_texts([SpecText("specs.yaml", text)], host="here", digest="")
    assert found.faults == ()
    return found


def network(**changes: Any) -> dict[str, Any]:
    return {"Name": "blue", "Id": "b" * 64, "Driver": "bridge", "Scope": "local", "IPAM": {"Config": []}, **changes}


def container(name: str = "web", **changes: Any) -> dict[str, Any]:
    return {
        "Name": f"/{name}",
        "Id": name.encode().hex().ljust(64, "0"),
        "State": {"Status": "running"},
        "HostConfig": {"NetworkMode": "blue"},
        "Config": {},
        "NetworkSettings": {"Networks": {"blue": {}}},
        **changes,
    }


def read_one(*containers: dict[str, Any], networks: tuple[dict[str, Any], ...] = (network(),)) -> Imported:
    return read_docker(networks, containers, with_stopped=False)


def body(imported: Imported, name: str = "web") -> Mapping[str, Any]:
    (found,) = (each.body for each in (*imported.attachments, *imported.networks) if each.name == name)
    return found


def told(imported: Imported) -> dict[str, str]:
    return {f"{each.where}: {each.what}": each.why for each in imported.all_not_carried()}


def as_declared(attachment: AttachmentWanted) -> object:
    """Leave out what no scene says: addresses as they are now, MAC addresses drawn at random, in which sandbox it is."""
    networks = [(each.network, each.aliases, each.gw_priority, each.options) for each in attachment.endpoints]
    texts = (attachment.hostname, attachment.domainname, attachment.extra_hosts, sorted(attachment.links))
    return attachment.mode, networks, texts, sorted(attachment.ports, key=str)


def test_what_an_engine_was_recorded_with_is_the_scene() -> None:
    scene, found = loaded((GOLDEN / "scene.yaml").read_text()), loaded(stream_text(read(RECORDED["28.5.2"]), "test"))

    def shown(specs: LoadedSpecs) -> dict[str, Any]:
        return {
            each.name: (each.options, each.is_internal, each.is_attachable, each.is_ipv4_enabled, each.is_ipv6_enabled)
            for each in specs.wanted.networks
        }

    assert shown(found) == shown(scene)
    pools = {each.name: {str(pool.subnet) for pool in each.subnets} for each in found.wanted.networks}
    assert pools["seven"] == {"10.7.0.0/24", "fd00:7::/64"}
    theirs = {each.name: as_declared(each) for each in scene.wanted.attachments}
    ours = {each.name: as_declared(each) for each in found.wanted.attachments}
    del theirs["web"], ours["web"]  # has its own name as an alias in the scene, which says nothing
    assert ours == theirs


@pytest.mark.parametrize("version", RECORDED)
def test_addresses_are_those_that_containers_have(version: str) -> None:
    imported = read(RECORDED[version])

    assert body(imported, "s1")["networks"]["seven"]["ipv4_address"] == "10.7.0.128"
    front, inner = body(imported)["networks"].values()
    assert (front["aliases"], front["ipv4_address"], front["ipv6_address"]) == (["www"], "10.8.0.10", "fd00:8::10")
    assert (inner["aliases"], inner["driver_opts"]) == (["aa"], {"k": "v"})
    assert "ipv4_address" not in body(imported, "container1")["networks"]["bridge"]
    assert body(imported, "hh") == {"network_mode": "host"}
    assert body(imported, "n1") == {"sandbox": {"container": "n1"}, "network_mode": "none"}


def test_names_that_engines_add_themselves_are_not_aliases() -> None:
    web = container(Config={"Hostname": "shop"})
    web["NetworkSettings"]["Networks"]["blue"]["Aliases"] = ["web", web["Id"][:12], "www", "shop", "www"]

    assert body(read_one(web))["networks"]["blue"]["aliases"] == ["www"]


def test_mac_addresses_are_told_where_they_do_not_follow_from_the_address() -> None:
    endpoints = {
        "blue": {"IPAddress": "10.1.0.2", "MacAddress": "02:42:0a:01:00:02"},
        "red": {"MacAddress": "02:42:0a:01:00:02"},
    }
    networks = (network(), network(Name="red", Id="r" * 64))

    found = body(read_one(container(NetworkSettings={"Networks": endpoints}), networks=networks))

    assert "mac_address" not in found["networks"]["blue"]
    assert found["networks"]["red"]["mac_address"] == "02:42:0a:01:00:02"


def test_ports_are_what_was_asked_for_and_neighbours_are_a_range() -> None:
    bindings = {
        **{f"{80 + at}/tcp": [{"HostIp": "", "HostPort": str(8080 + at)}] for at in range(3)},
        "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "53"}, {"HostIp": "::1", "HostPort": "53"}],
        "90/tcp": [{"HostIp": "", "HostPort": ""}],
        "91/tcp": [{"HostIp": "", "HostPort": "9000-9010"}],
    }
    web = container(HostConfig={"NetworkMode": "blue", "PortBindings": bindings})
    web["Config"]["ExposedPorts"] = {"80/tcp": {}, "7000/tcp": {}, "7001/tcp": {}, "7002/sctp": {}}

    found = body(read_one(web))

    assert found["ports"] == ["8080-8082:80-82", "90", "9000-9010:91", "127.0.0.1:53:53/udp", "[::1]:53:53/udp"]
    assert found["expose"] == ["7002/sctp", "7000-7001"]
    web["HostConfig"]["PublishAllPorts"] = True
    assert "7000-7001" in body(read_one(web))["ports"]


def test_the_network_that_a_container_was_made_with_has_its_first_link() -> None:
    endpoints = {"blue": {}, "red": {}}
    networks = (network(), network(Name="red", Id="r" * 64))
    web = container(HostConfig={"NetworkMode": "red"}, NetworkSettings={"Networks": endpoints})

    assert body(read_one(web, networks=networks))["networks"] == {"blue": {}, "red": {"interface_name": "eth0"}}
    web["HostConfig"]["NetworkMode"] = "blue"
    assert body(read_one(web, networks=networks))["networks"] == endpoints


def test_addresses_on_the_network_bridge_are_told_where_they_will_be_others() -> None:
    bridge = network(Name="bridge", Id="a" * 64, IPAM={"Config": [{"Subnet": "172.17.0.0/16"}]})

    def on_bridge(name: str, address: str) -> dict[str, Any]:
        networks = {"bridge": {"IPAddress": address}}
        return container(name, HostConfig={"NetworkMode": "default"}, NetworkSettings={"Networks": networks})

    same = read_one(on_bridge("a", "172.17.0.2"), on_bridge("b", "172.17.0.3"), networks=(bridge,))
    assert not any("the address of" in what for what in told(same))
    moved = read_one(on_bridge("a", "172.17.0.3"), on_bridge("b", "172.17.0.2"), networks=(bridge,))
    assert "network bridge: the address of a (172.17.0.3), b (172.17.0.2)" in told(moved)


def test_links_of_both_kinds_lead_to_attachments_by_name_or_id() -> None:
    db, cache = container("db"), container("cache")
    web = container(HostConfig={"NetworkMode": "blue", "Links": ["/db:/web/database"]})
    web["NetworkSettings"]["Networks"]["blue"]["Links"] = [f"{cache['Id'][:12]}:cache", "db:database"]

    assert body(read_one(db, cache, web))["links"] == ["db:database", "cache"]


def test_containers_without_a_network_of_their_own_are_named_or_left_so() -> None:
    shared = container(
        "side", HostConfig={"NetworkMode": f"container:{container()['Id']}"}, NetworkSettings={"Networks": {}}
    )
    rootless = container("mine", HostConfig={"NetworkMode": "pasta"}, NetworkSettings={"Networks": {}})

    imported = read_one(container(), shared, rootless)

    assert [each.name for each in imported.attachments] == ["web"]
    assert "shares the sandbox of container web" in told(imported)["container side: the container"]
    assert "network mode pasta is no network that specs can name" in told(imported)["container mine: the container"]


def test_stopped_containers_come_when_asked_for_with_what_they_will_have() -> None:
    endpoint = {"IPAMConfig": {"IPv4Address": "10.1.0.9"}, "IPAddress": ""}
    old = container("old", State={"Status": "exited"}, NetworkSettings={"Networks": {"blue": endpoint}})

    assert "1 stopped container (old)" in str(told(read_one(old)))
    found = read_docker([network()], [old], with_stopped=True)
    assert body(found, "old")["networks"] == {"blue": {"ipv4_address": "10.1.0.9"}}
    assert found.attachments[0].source == "container old, exited"


def test_networks_of_one_name_and_names_that_specs_refuse_are_kept_apart() -> None:
    first, second = network(), network(Id="c" * 64)
    odd = network(Name="my net", Id="d" * 64)
    web = container(
        NetworkSettings={"Networks": {"blue": {"NetworkID": second["Id"]}, "my net": {"NetworkID": odd["Id"]}}}
    )

    imported = read_one(web, networks=(first, second, odd))

    assert [each.name for each in imported.networks] == ["blue", "blue-cccccccccccc", "my-net"]
    assert set(body(imported)["networks"]) == {"blue-cccccccccccc", "my-net"}
    assert "network my net: the name 'my net'" in told(imported)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param({"Ingress": True, "Scope": "swarm", "Driver": "overlay"}, "routing mesh", id="ingress"),
        pytest.param({"ConfigOnly": True}, "holds settings for others", id="config-only"),
        pytest.param({"Driver": "overlay", "Options": {"encrypted": ""}}, "it is encrypted", id="encrypted"),
    ],
)
def test_networks_that_cannot_be_had_are_named_and_the_rest_is_imported(changes: dict[str, Any], why: str) -> None:
    imported = read_one(networks=(network(), network(Name="odd", Id="d" * 64, **changes)))

    assert [each.name for each in imported.networks] == ["blue"]
    assert why in told(imported)["network odd: the network"]


def test_options_that_drivers_do_not_know_go_and_the_network_stays() -> None:
    options = {f"{PREFIX}.bridge.enable_icc": "false", f"{PREFIX}.bridge.colour": "red"}
    web = container(
        HostConfig={"NetworkMode": "blue", "Sysctls": {"net.ipv4.ip_forward": "1", "kernel.msgmax": "65536"}}
    )

    imported = carried(read_one(web, networks=(network(Options=options),)), "here")

    assert body(imported, "blue")["driver_opts"] == {f"{PREFIX}.bridge.enable_icc": "false"}
    assert f"{PREFIX}.bridge.colour" in str(imported.networks[0].not_carried)
    assert body(imported)["sysctls"] == {"net.ipv4.ip_forward": "1"}
    assert "so the engine keeps it" in told(imported)["container web: sysctl kernel.msgmax"]


def test_what_specs_join_already_is_left_to_them_once_the_engine_has_no_part_in_it() -> None:
    mine = container("mine", HostConfig={"NetworkMode": "none"}, NetworkSettings={"Networks": {"none": {}}})

    imported = read_docker([network()], [container(), mine], with_stopped=False, joined=["web", mine["Id"][:12]])

    assert [each.name for each in imported.attachments] == ["web"]
    assert "its attachment stands there" in told(imported)["container mine: the container"]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for step, inner in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield (*path, step)
        yield from places(inner, (*path, step))


PLACES = [path for path in places(RECORDED["28.5.2"]) if path[0] in ("networks", "containers") and len(path) > 2]


@settings(max_examples=20)
@given(st.lists(st.tuples(st.sampled_from(PLACES), ANYTHING), min_size=1, max_size=3))
def test_whatever_an_engine_says_comes_to_specs_that_load(lies: list[tuple[tuple[Any, ...], Any]]) -> None:
    document = deepcopy(RECORDED["28.5.2"])
    for path, lie in lies:
        node = document
        for step in path[:-1]:
            node = node[step] if isinstance(node, dict) and step in node else {}
        if isinstance(node, dict):
            node[path[-1]] = lie

    loaded(stream_text(read(document), "test"))


def test_containers_of_podman_are_on_its_networks_and_pods_are_one_sandbox() -> None:
    networks = [
        {"name": "podman", "id": "p" * 64, "driver": "bridge", "subnets": [{"subnet": "10.88.0.0/16"}]},
        {"name": "my net", "id": "m" * 64, "driver": "bridge", "subnets": [{"subnet": "10.5.0.0/24"}]},
    ]
    first = container(
        "infra", HostConfig={"NetworkMode": "bridge"}, NetworkSettings={"Networks": {"my net": {}, "podman": {}}}
    )
    second = container(
        "cart", HostConfig={"NetworkMode": f"container:{first['Id']}"}, NetworkSettings={"Networks": None}
    )

    imported = read_podman(networks, [first, second], with_stopped=False)

    assert [each.name for each in imported.networks] == ["podman", "my-net"]
    assert body(imported, "infra")["networks"] == {"my-net": {}, "podman": {}}
    assert "shares the sandbox of container infra" in told(imported)["container cart: the container"]
