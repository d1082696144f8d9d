"""The page: one file, in which no name becomes more than text, and that asks nobody for anything."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from ipaddress import IPv4Interface, ip_address
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from reconciler.graph.document import document
from reconciler.graph.elsewhere import with_hosts_elsewhere
from reconciler.graph.html import html, live_html
from reconciler.graph.make_topology import Subject, make_topology
from reconciler.graph.reaching import reaching
from reconciler.guard.foresight import on_any_host
from reconciler.model.desired import DesiredState, RemoteEndpoint
from reconciler.model.identifiers import NsRef
from reconciler.reach.stand_ins import walk_of, with_addresses_apart
from reconciler.reach.values import Party, PartyKind
from reconciler.settings import Settings
from reconciler.spec.load import load_specs
from tests.fakes.desired import attachment, endpoint, host_facts, network

PAGE = Path(__file__).parents[3] / "reconciler" / "graph" / "page"


class _Elements(HTMLParser):
    """Collects what scripts and styles hold, and the policy."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self.found.append((f"/{tag}", {}, ""))

    def handle_data(self, data: str) -> None:
        if self.found:
            tag, attributes, text = self.found[-1]
            self.found[-1] = tag, attributes, text + data

    def texts(self, tag: str) -> list[str]:
        return [text for name, _, text in self.found if name == tag]


@settings(max_examples=max(5, settings().max_examples // 5))
@given(st.text(max_size=60), st.text(max_size=30))
def test_no_name_becomes_more_than_text(name: str, title: str) -> None:
    for hostile in (name, f"</script><script>{name}", f"<!--<script>{name}", f'"{name}\u2028&amp;'):
        data = json.dumps({"name": hostile}).encode()
        elements = _Elements(html(data, f"{title}</title><b>"))

        assert json.loads(elements.texts("script")[0]) == {"name": hostile}
        assert len(elements.texts("script")) == 2
        assert "b" not in {tag for tag, _, _ in elements.found}


def test_the_policy_lets_this_script_and_style_alone_run() -> None:
    for page, connect in ((html(b"null", "x"), "'none'"), (live_html("x"), "'self'")):
        elements = _Elements(page)
        policy = next(str(attributes["content"]) for tag, attributes, _ in elements.found if "http-equiv" in attributes)
        texts = (elements.texts("script")[1], *elements.texts("style"))
        hashes = [b64encode(sha256(text.encode()).digest()).decode() for text in texts]

        assert all(f"'sha256-{each}'" in policy for each in hashes)
        assert policy.startswith("default-src 'none'")
        assert f"connect-src {connect}" in policy
        assert "unsafe" not in policy


def test_the_script_reads_nothing_as_html_and_the_page_refers_to_nothing_elsewhere() -> None:
    script = (PAGE / "page.js").read_text()

    assert re.findall(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function", script) == []
    assert re.findall(r"https?://(?!www\.w3\.org)|src=|@import|url\(", html(b"null", "x")) == []


def test_hosts_that_choose_alone_have_no_address_twice_and_reach_each_other(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text("""
        networks:
          corp: {driver: overlay}
          named: {driver: overlay, ipam: {config: [{subnet: 10.9.0.0/29}]}}
        attachments:
          a: {hosts: [alpha], networks: {corp: , named: {ipv4_address: 10.9.0.3}}}
          b: {hosts: [beta], networks: [corp, named]}
          c: {hosts: [beta], networks: [named]}
        """)
    hosts = [on_any_host(load_specs(tmp_path, host=name).wanted, Settings(host=name)) for name in ("alpha", "beta")]
    apart = with_addresses_apart(hosts)
    places = [
        (e.network, e.ipv4) for host in apart for a in host.attachments for e in a.endpoints if not e.wanted.is_gateway
    ]

    assert len({*places}) == len(places) == 5
    assert ("named", ip_address("10.9.0.3")) in {(name, address and address.ip) for name, address in places}
    found = reaching(walk_of(apart))
    a, b = (found.parties.index(Party(PartyKind.ATTACHMENT, *names)) for names in (("alpha", "a"), ("beta", "b")))
    assert any(flow.clients >> a & 1 and flow.servers >> b & 1 and flow.what == "" for flow in found.flows)


def test_the_document_tells_what_the_drawing_has(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text("""
        networks: {front: , back: {internal: true}}
        attachments:
          web: {networks: [front, back], ports: ["8080:80"]}
          db: {networks: [back]}
        """)
    loaded = load_specs(tmp_path, host="alpha")
    desired = on_any_host(loaded.wanted, Settings(host="alpha"))
    subjects = [Subject(after=desired, sources=loaded.wanted.sources)]
    told = json.loads(document(make_topology(subjects), reaching(walk_of([desired])), subjects))

    assert [network["name"] for network in told["networks"]] == ["back", "front"]
    assert [one["name"] for one in told["attachments"]] == ["db", "web"]
    places = {place["network"]: place["ports"] for place in told["attachments"][1]["places"]}
    assert places == {0: [], 1: [["8080→80/tcp", ""]]}
    assert told["attachments"][1]["declared"].startswith(str(tmp_path / "all.yaml:4"))
    lines = {line for text, _, _, line in told["reach"]["steps"] if "is internal" in text}
    assert lines == {f"{tmp_path}/all.yaml:2:36"}, "where the field is that the reason stands on"
    assert ["attachment", 0, "web", 1] in told["reach"]["parties"]
    assert {"80/tcp", ""} <= {flow[0] for flow in told["reach"]["flows"]}


def test_hosts_that_a_cluster_tells_of_reach_and_are_reached_on_shared_networks() -> None:
    far = [
        RemoteEndpoint(
            network="corp",
            id=f"e{number}",
            name="web",
            host=host,
            vtep=ip_address("192.0.2.9"),
            mac=f"02:42:0a:09:00:0{number}",
            ipv4=IPv4Interface(f"10.9.0.{number}/24"),
        )
        for number, host in ((5, "beta"), (6, "gamma"))
    ]
    corp = network("corp", "10.9.0.0/24")
    wanted = replace(corp.wanted, driver="overlay", bridge=None)
    corp = replace(corp, wanted=wanted, scope="global", ns=NsRef("netns:ov"), remote_endpoints=tuple(far))
    here = attachment("web", [endpoint("web", "corp", "10.9.0.2/24")])
    desired = DesiredState(host=host_facts(), networks=(corp,), attachments=(here,))
    topology, found = make_topology([Subject(after=desired)]), reaching(walk_of(with_hosts_elsewhere(desired)))
    told = json.loads(document(topology, found))

    elsewhere = {told["hosts"][one["host"]]: one["elsewhere"] for one in told["attachments"]}
    assert elsewhere == {desired.host.name: False, "beta": True, "gamma": True}
    assert set(topology.shared[0].hosts) == {desired.host.name, "beta", "gamma"}
    webs = [index for index, party in enumerate(found.parties) if party.name == "web"]
    flows = [flow for flow in found.flows if flow.what == ""]
    pairs = {
        (c, s) for c in webs for s in webs if c != s and any(f.clients >> c & 1 and f.servers >> s & 1 for f in flows)
    }
    assert len(pairs) == 6, "each web reaches the two others"
