"""Whatever stands in a spec folder: faults with places, never anything else, and what is fine can be chosen for."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.guard.foresight import foreseen
from reconciler.settings import Settings
from reconciler.spec.load import LoadedSpecs, load_specs

FRAGMENTS = st.sampled_from(
    [
        "networks:", "attachments:", "  a:", "\n", "\r\n", "\r", "\u2028", "\x85", "\ufeff", "  ", "    ", "\t",
        "- ", "[", "]", "{", "}", ":", ": ", ", ", "?", "? ", "&a ", "*a", "<<: ", "!!str ", "!x ", "'", "\"", "#",
        "---\n", "...\n", "%YAML 1.2\n", "~", "true", "8080:80", "-0", "0x1f", "${A}", "$B", "{{ x }}",
        "{% for x in y %}", "{% endfor %}", "subnet: 10.0.0.0/8", "ipam: {config: [", "ports: [", "networks: {a: ",
        "sysctls: {net.a: 1}", "\x00", "\x07", "é", "\U0001f600", "x-y: ", "services: {a: b}", "\ue000",
        "external: true", "labels: {a: "
    ]
)  # fmt: skip
TEXTS = st.lists(FRAGMENTS, max_size=30).map(lambda parts: "".join(parts).encode())

SCALARS = st.sampled_from(
    [
        None, True, False, 0, -3, 70000, 10**30, "", "a", "net", "host", "none", "bridge", "10.1.0.5", "fd00::5",
        "::1", "8080:80", "0:80", "80-90:80-90", "[::1]:1:1", "a:b", "02:42:0a:00:00:01", "net.a", "eth0", "macvlan",
        "overlay", "plug", "null", "host-gateway", "/run/netns/x", "${A}", "\u2028", "x" * 300, "service:x", "1400"
    ]
)  # fmt: skip
KEYS = st.sampled_from(
    [
        "driver", "driver_opts", "ipam", "internal", "enable_ipv4", "enable_ipv6", "external", "labels", "protect",
        "name", "sandbox", "hosts", "hostname", "networks", "network_mode", "ports", "expose", "links", "dns",
        "extra_hosts", "sysctls", "subnet", "ip_range", "gateway", "aux_addresses", "config", "options", "netns",
        "pid", "container", "ipv4_address", "ipv6_address", "link_local_ips", "mac_address", "aliases",
        "interface_name", "target", "published", "host_ip", "parent", "macvlan_mode", "x-a",
        "com.docker.network.driver.mtu", "net.ipv4.ip_forward"
    ]
)  # fmt: skip
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=8
)
SUBNETS = st.sampled_from(["10.1.0.0/24", "10.2.0.0/29", "10.3.0.4/31", "10.4.0.0/32", "fd00::/64", "fd00:1::/127"])
NETWORKS = st.fixed_dictionaries(
    {},
    optional={
        "driver": st.sampled_from(["bridge", "macvlan", "overlay", "plug"]),
        "ipam": st.fixed_dictionaries({"config": st.lists(st.fixed_dictionaries({"subnet": SUBNETS}), max_size=2)}),
        "internal": st.booleans(),
        "enable_ipv6": st.booleans(),
        "external": st.booleans(),
    },
)
ATTACHMENTS = st.fixed_dictionaries(
    {},
    optional={
        "networks": st.dictionaries(
            st.sampled_from(["net", "a", "bridge"]), st.dictionaries(KEYS, SCALARS, max_size=1), max_size=2
        ),
        "ports": st.lists(st.sampled_from(["8080:80", "0:81", "[::1]:5:5", "9000-9001:90-91", "80"]), max_size=3),
        "sysctls": st.dictionaries(st.sampled_from(["net/ipv4/ip_forward", "net.a"]), SCALARS, max_size=2),
    },
)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "networks": st.dictionaries(st.sampled_from(["net", "a", "bridge", "-x"]), NETWORKS | ANYTHING, max_size=3),
        "attachments": st.dictionaries(st.sampled_from(["w", "v", "é"]), ATTACHMENTS | ANYTHING, max_size=3),
        "services": ANYTHING,
    },
)


def loaded(files: Mapping[str, bytes]) -> LoadedSpecs:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        return load_specs(Path(folder), host="alpha", is_in_cluster=False)


@given(TEXTS, TEXTS, st.binary(max_size=60))
@example("'\u2028\u2028:".encode(), b"", b"")
def test_any_bytes_are_specs_or_faults_of_one_line(text: bytes, template: bytes, noise: bytes) -> None:
    found = loaded({"a.yaml": text, "b.yaml.j2": template, "vars.yaml": template, "c.yml": noise})

    lines = text.count(b"\n") + text.count(b"\r") + 2
    for fault in found.faults:
        assert fault.message
        assert "\n" not in str(fault)
        assert not fault.file.endswith("a.yaml") or 0 < fault.line <= lines


@given(DOCUMENTS, DOCUMENTS)
def test_any_data_is_specs_or_faults_with_places(one: object, other: object) -> None:
    found = loaded({"a.yaml": json.dumps(one).encode(), "b.yaml": json.dumps(other, indent=1).encode()})

    faults, warnings = foreseen(found, Settings(host="alpha"))
    assert all(fault.line for fault in (*found.faults, *faults) if not fault.message.startswith("and "))
    assert all(warning.source.line for warning in (*found.warnings, *warnings))


MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "networks": st.dictionaries(
            st.sampled_from(["net", "a", "bridge"]),
            st.fixed_dictionaries({}, optional={"ipv4_address": st.sampled_from(["10.1.0.5", "10.2.0.3"])}),
            max_size=2,
        ),
        "hosts": st.sampled_from(["alpha", "beta", ["al*"], ["beta", "gamma"], []]),
        "sandbox": st.sampled_from([{"netns": "x"}, {"netns": "y"}, {}]),
        "ports": st.lists(st.sampled_from(["8080:80", "127.0.0.1:8080:80", "9000-9001:90-91"]), max_size=1),
        "links": st.lists(st.sampled_from(["w", "v:db"]), max_size=1),
    },
)
EDITS = st.tuples(
    st.sampled_from(["a.yaml", "b.yaml"]),
    st.fixed_dictionaries(
        {
            "networks": st.dictionaries(st.sampled_from(["net", "a"]), NETWORKS, max_size=2),
            "attachments": st.dictionaries(st.sampled_from("tuvw"), MEMBERS, max_size=3),
        }
    )
    | DOCUMENTS,
    st.sampled_from(["", "# A comment.\n"]),
)


def told(found: LoadedSpecs) -> tuple[object, ...]:
    sources = dict(found.wanted.sources)
    return found.wanted, [*map(str, found.faults)], found.warnings, found.digest, found.texts, sources


@given(st.lists(EDITS, min_size=2, max_size=8))
def test_what_goes_on_from_an_earlier_load_is_what_a_first_load_gives(edits: list[tuple[str, object, str]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, kept = Path(name), None
        for file, data, comment in edits:
            (folder / file).write_text(comment + json.dumps(data, indent=1))
            before, kept = kept, load_specs(folder, host="alpha", is_in_cluster=False, previous=kept)
            assert told(kept) == told(load_specs(folder, host="alpha", is_in_cluster=False))
            again = load_specs(folder, host="alpha", is_in_cluster=False, previous=kept)
            assert again.wanted.networks is kept.wanted.networks or not kept.wanted.networks
            assert again.wanted.attachments is kept.wanted.attachments
            assert before is None or all(
                new is old for old in before.wanted.attachments for new in kept.wanted.attachments if new == old
            )
