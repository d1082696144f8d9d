"""Inspected documents, and what sandboxes find inside, beside those of real engines, for the same networks and containers.

golden/engine-*.json: recorded by tests/container_engines/record.sh. golden/scene.yaml: the same, declared.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest
from msgspec.structs import replace

from reconciler.ipam.assign import assign
from reconciler.ipam.promises import Promises
from reconciler.model.desired import DesiredAttachment, DesiredState
from reconciler.model.observed import HostPorts
from reconciler.ports.assign import assign_ports
from reconciler.ports.links import assign_links
from reconciler.sandbox.environment import environment_text
from reconciler.sandbox.hosts import hosts_text
from reconciler.sandbox.resolv_conf import resolv_conf_text
from reconciler.spec.load import load_specs
from reconciler.status.attachment_document import attachment_document
from reconciler.status.json_text import json_text
from reconciler.status.shape import Shape, shaped
from tests.fakes.desired import host_facts, inspected

GOLDEN: Final = Path(__file__).parent / "golden"
ENGINES: Final = {Shape.ENGINE_20_10: "engine-20.10.24.json", Shape.NEWEST: "engine-28.5.2.json"}
KINDS: Final = ("networks", "containers")

Documents = dict[str, dict[str, Any]]

_NO_PROXY: Final = {("container2", "Ports", "80/tcp"), ("web", "Ports", "81/tcp")}
"""docs/limits.md: nothing listens on `[::1]`, nor for IPv6 clients of a sandbox without IPv6, and inspect shows what there is."""

_OLD_VALUE_KEPT: Final = {
    ("none", "IPAM", "Config"),
    ("host", "IPAM", "Config"),
    *((name, network, "Aliases") for name, network in (("s1", "seven"), ("web", "front"), ("web", "inner"))),
    *((name, network, "Aliases") for name, network in (("db", "front"), ("db", "isolated_nw"), ("six", "only6"))),
}
"""An empty list and not null; aliases with what is in `DNSNames` now."""

_OF_20_10_ALONE: Final = {("bridge", "IPAM", "Config"), ("web", "inner", "Gateway")}
"""The default bridge's gateway, which it shows from its second start on; a gateway that the sandbox has no route through."""

DIFFERENT: Final = {Shape.NEWEST: _NO_PROXY | _OLD_VALUE_KEPT, Shape.ENGINE_20_10: _NO_PROXY | _OF_20_10_ALONE}

_INSIDE_BOTH: Final = {("hh", "routes"), ("db", "routes")}
"""The recorder's host has an uplink; `gw_priority` decides here, where 28 prefers a network of both families even so."""

DIFFERENT_INSIDE: Final = {
    Shape.NEWEST: _INSIDE_BOTH,
    Shape.ENGINE_20_10: _INSIDE_BOTH | {("linked", "variables")},  # NAME_PORT is of the lowest TCP port, as in 28
}


@cache
def recorded(shape: Shape) -> dict[str, Documents]:
    told = json.loads((GOLDEN / ENGINES[shape]).read_text())
    return _plain({kind: told[kind] for kind in KINDS})


@cache
def scene() -> DesiredState:
    with TemporaryDirectory() as folder:
        shutil.copy(GOLDEN / "scene.yaml", folder)
        loaded = load_specs(Path(folder), host="alpha")
    assert not loaded.faults
    host = replace(host_facts(resolv_conf="nameserver 192.0.2.53\n"), hosts="127.0.0.1 localhost\n")
    state = assign_ports(assign_links(assign(loaded.wanted, host, Promises())), {}, {}, HostPorts())
    assert not state.failures
    return state


@cache
def ours(shape: Shape) -> dict[str, Documents]:
    state = scene()
    networks = {network.name: network for network in state.networks}
    netns_dir, hostname = Path("/run/netns"), state.host.hostname
    made: dict[str, Documents] = {
        "networks": {name: inspected(one, state.attachments) for name, one in networks.items()},
        "containers": {
            one.name: attachment_document(one, networks, netns_dir=netns_dir, host_hostname=hostname)
            for one in state.attachments
        },
    }
    shown = {kind: {name: shaped(one, shape) for name, one in documents.items()} for kind, documents in made.items()}
    return _plain(json.loads(json_text(shown)))


def _plain(told: dict[str, Documents]) -> dict[str, Documents]:
    """Say of ids whose they are, and leave out what every run chooses anew."""
    ids = {one["Id"]: f"<{name}>" for documents in told.values() for name, one in documents.items()}
    short = {id_[:12]: f"{name} short" for id_, name in ids.items()}
    plain: dict[str, Documents] = _without_choices(told, {**ids, **short})
    for network in plain["networks"].values():
        network["Containers"] = dict(sorted(network["Containers"].items()))
    return plain


def _without_choices(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {
            names.get(key, key): "<path>" if key == "SandboxKey" else _without_choices(below, names)
            for key, below in value.items()
        }
    if isinstance(value, list):
        return [_without_choices(below, names) for below in value]
    if not isinstance(value, str):
        return value
    forms = {
        r"[0-9a-f]{64}": "<id>",
        r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}": "<mac>",
        r"\d{4}-\d\d-\d\dT[0-9:.]+Z": "<time>",
    }
    return names.get(value) or next((word for form, word in forms.items() if re.fullmatch(form, value)), value)


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Give every value that is no object; a list is one value."""
    if isinstance(value, dict) and value:
        for key, below in value.items():
            yield from leaves(below, (*path, key))
    else:
        yield path, value


def fields(value: Any) -> Any:
    """Give the fields of objects in their order, all the way down."""
    if isinstance(value, dict):
        return [(key, fields(below)) for key, below in value.items()]
    return None


@pytest.mark.parametrize("shape", Shape)
def test_values_are_the_engines_but_for_those_that_differ_on_purpose(shape: Shape) -> None:
    theirs, found = dict(leaves(recorded(shape))), dict(leaves(ours(shape)))

    different = {path for path, value in theirs.items() if found.get(path, "nothing") != value}

    # Its owner, the network of an endpoint or the part it stands in, and the field say enough of a place.
    assert {(path[1], path[-2], path[-1]) for path in different} == DIFFERENT[shape]
    assert len(theirs) > 500


def test_what_both_engines_agree_on_is_shown_in_both_shapes() -> None:
    old, new = (dict(leaves(recorded(shape))) for shape in (Shape.ENGINE_20_10, Shape.NEWEST))
    agreed = {path: value for path, value in old.items() if path in new and new[path] == value}

    for shape in Shape:
        found = dict(leaves(ours(shape)))
        assert {(path[1], path[-2], path[-1]) for path in agreed if found[path] != agreed[path]} == _NO_PROXY
    assert len(agreed) > 400


@pytest.mark.parametrize("kind", KINDS)
def test_shape_of_20_10_has_its_fields_in_its_order(kind: str) -> None:
    for name, document in recorded(Shape.ENGINE_20_10)[kind].items():
        assert fields(ours(Shape.ENGINE_20_10)[kind][name]) == fields(document)


@pytest.mark.parametrize("kind", KINDS)
def test_newest_shape_has_all_fields_of_28_among_those_of_20_10_in_their_old_order(kind: str) -> None:
    for name, document in recorded(Shape.NEWEST)[kind].items():
        shown = ours(Shape.NEWEST)[kind][name]
        assert {path for path, _ in leaves(document)} <= {path for path, _ in leaves(shown)}
        assert set(shown) - set(document) == ({"Status"} if kind == "networks" else set())
        assert fields(shaped(shown, Shape.ENGINE_20_10)) == fields(ours(Shape.ENGINE_20_10)[kind][name])


def inside(attachment: DesiredAttachment) -> dict[str, list[str]]:
    """Give what record.py reads inside a container, of one of our sandboxes."""
    host, endpoints = scene().host, attachment.endpoints
    gateways = [
        *(e.gateway_ipv4 for e in endpoints if e.is_default_ipv4),
        *(e.gateway_ipv6 for e in endpoints if e.is_default_ipv6),
    ]
    return {
        "hosts": hosts_text(attachment, host, None).splitlines(),
        "resolv.conf": resolv_conf_text(attachment, host).splitlines(),
        "variables": environment_text(attachment).splitlines(),
        "routes": [f"default via {gateway}" for gateway in gateways],
    }


def comparable(found: Mapping[str, list[str]], names: Mapping[str, str]) -> dict[str, list[str]]:
    """Leave out comments and what every run chooses anew; the order of lines counts in resolv.conf alone."""
    lines = {what: [" ".join(line.split()) for line in text if line and line[0] != "#"] for what, text in found.items()}
    return {
        "hosts": sorted(_hosts_line(line, names) for line in lines["hosts"]),
        "resolv.conf": lines["resolv.conf"],
        "variables": sorted(lines["variables"]),
        "routes": sorted({" ".join(line.split()[:3]) for line in lines["routes"] if line.startswith("default")}),
    }


def _hosts_line(line: str, names: Mapping[str, str]) -> str:
    address, *words = line.split()
    return " ".join((str(ip_address(address)), *(names.get(word, word) for word in words)))


@pytest.mark.parametrize("shape", Shape)
def test_sandboxes_find_inside_what_containers_of_engines_do(shape: Shape) -> None:
    told = json.loads((GOLDEN / ENGINES[shape]).read_text())
    theirs = {one["Id"][:12]: f"<{name}>" for name, one in told["containers"].items()}
    mine = {one.id[:12]: f"<{one.name}>" for one in scene().attachments}
    sandboxes = {one.name: comparable(inside(one), mine) for one in scene().attachments}

    different = {
        (name, what)
        for name, found in told["inside"].items()
        for what, lines in comparable(found, theirs).items()
        if sandboxes[name][what] != lines
    }

    assert different == DIFFERENT_INSIDE[shape]
