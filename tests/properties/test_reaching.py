"""The reasons of a drawing, worked out for parties that are alike, are those that each pair gets when it is asked by itself."""

from __future__ import annotations

import json
import re
from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from reconciler.graph.placeholders import CLIENT, PORT, SERVER
from reconciler.graph.reaching import ReachFlow, Reaching, Why, reaching
from reconciler.reach.flows import reachability
from reconciler.reach.reachability import Reachability, Service, Target
from reconciler.reach.values import Party, PartyKind, ReachAnswer, Step
from tests.fakes.reach import walk_of
from tests.random_specs import on_two_hosts, specs

EXAMPLES = max(3, settings().max_examples // 20)


def told(found: Reaching, whys: tuple[Why, ...], client: int, server: int, place: str) -> tuple[Step, ...] | None:
    """Give the reason as the page shows it: that of the first row that fits."""
    for why in whys:
        if why.clients >> client & 1 and why.servers >> server & 1:
            names = {CLIENT: found.parties[client].name, SERVER: found.parties[server].name, PORT: place}
            return tuple(filled(step, names) for step in found.reasons[why.reason])
    return None


def filled(step: Step, names: dict[str, str]) -> Step:
    text, unit = step.text, step.unit
    for mark, name in names.items():
        text = text.replace(mark, name)
        unit = unit and type(unit)(network=unit.network, attachment=unit.attachment.replace(mark, name))
    return replace(step, text=text, unit=unit)


def target_of(flow: ReachFlow, server: Party, all_: Reachability) -> Target:
    """Find the target again that a flow's words are of."""
    return next(
        target
        for target in all_.asked
        if target.server == server
        and target.service.version == flow.versions[0]
        and target.service.what == flow.what
        and target.service.published
        == ("published" + flow.how.partition("published")[2].partition(",")[0]).strip() * bool(flow.place)
    )


def expected(found: Reachability, server: Party, answer: ReachAnswer) -> tuple[Step, ...]:
    """Give the steps of an answer. Where a server's address is named, its name is."""
    steps = answer.steps
    for address in found.walk.sites[server.host].addresses_of(server.name) if server.name else ():
        pattern = rf"(?<![\w.:]){re.escape(str(address))}(?![\w.:])"
        steps = tuple(replace(step, text=re.sub(pattern, server.name, step.text)) for step in steps)
    return steps


def check(specs_: object, hosts: tuple[str, ...]) -> None:
    walk = walk_of(json.dumps(specs_), hosts)
    found, all_ = reaching(walk), reachability(walk)
    assert {*found.parties} == {*all_.parties}
    reached = set()
    for flow in found.flows:
        for c, client in enumerate(found.parties):
            for s, server in enumerate(found.parties):
                if c != s and flow.clients >> c & 1 and flow.servers >> s & 1:
                    reached.add((c, s))
                    reason = told(found, flow.whys, c, s, flow.place)
                    answer = all_.reasons(client, target_of(flow, server, all_))
                    assert reason == expected(all_, server, answer), (client, server, flow)
    for c, s in permutations(range(len(found.parties)), 2):
        if (c, s) not in reached:
            check_refusal(found, all_, c, s)


def check_refusal(found: Reaching, all_: Reachability, c: int, s: int) -> None:
    client, server = found.parties[c], found.parties[s]
    target = next((one for version in (4, 6) if (one := Target(server, Service(version))) in all_.asked), None)
    reason = told(found, found.refusals, c, s, "")
    if target is not None and (client.host == server.host or client.kind is server.kind is PartyKind.ATTACHMENT):
        answer = all_.reasons(client, target)
        assert reason == (expected(all_, server, answer) if answer.server is None else None), (client, server)


@settings(max_examples=EXAMPLES, deadline=None)
@given(specs())
def test_reasons_on_one_host_are_those_of_each_pair(found: dict[str, object]) -> None:
    check(found, ("alpha",))


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.data())
def test_reasons_between_hosts_are_those_of_each_pair(data: st.DataObject) -> None:
    check(data.draw(on_two_hosts()), ("alpha", "beta"))
