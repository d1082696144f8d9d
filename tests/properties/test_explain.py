"""Whatever specs say, all pairs can be explained: a yes has a path, a no has reasons, and a change keeps its word."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.explain.declared import declared
from reconciler.explain.explain import explain
from reconciler.explain.overview import overview
from reconciler.explain.suggest import changed_by
from reconciler.explain.target import read_target
from reconciler.explain.values import Verdict
from reconciler.settings import Settings
from tests.random_specs import on_two_hosts

EXAMPLES = max(3, settings().max_examples // 25)
PORTS = ("", ":80", ":81/udp", ":8000")


@settings(max_examples=EXAMPLES)
@given(specs=on_two_hosts(), data=st.data())
def test_every_pair_is_explained(specs: dict[str, Any], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "s.yaml").write_text(json.dumps(specs))
        found = declared(Settings(host="alpha", specs_dir=Path(folder)))
    names = [*specs["attachments"], "host", "outside"]
    pairs = data.draw(st.lists(st.tuples(*[st.sampled_from(names)] * 2).filter(_differ), min_size=6, max_size=6))

    for client, server in pairs:
        target = server + data.draw(st.sampled_from(PORTS))
        told = explain(found, client, target)
        if told.verdict is Verdict.YES:
            assert told.path, (client, target)
            assert not told.reasons
            if client in specs["attachments"] and target == server:
                view = overview(found, client)
                assert server in view.reached, (client, server, view)
        else:
            assert told.reasons, (client, target)
            after = changed_by(found, client, read_target(target)) if told.changes else None
            assert after is None or explain(after, client, target).verdict is Verdict.YES, (
                client,
                target,
                told.changes,
            )


def _differ(pair: tuple[str, str]) -> bool:
    return pair[0] != pair[1] and not {*pair} <= {"host", "outside"}
