"""What exists at plugins: what our records say, as far as the links that were seen bear it out.

Who speaks to plugins (`plugin_calls`, `plugin_leases`) is imported on hosts that have some.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import get_args

from msgspec.structs import replace

from reconciler.kinds.row import Row, SeenApart
from reconciler.kinds.world import World
from reconciler.model.identifiers import HOST, short_id
from reconciler.model.objects import Bridge, Key, PluginCall, PluginEndpoint, PluginLease, PluginLink, Seen
from reconciler.model.plan import Operation, Outcome
from reconciler.model.plugins import PluginFacts


def borne_out(facts: PluginFacts, seen: Mapping[Key, Seen]) -> PluginFacts:
    """Return the facts with those endpoints as not complete whose link is gone, as after a reboot."""
    if not facts.calls:
        return facts
    links = {
        (found.object.ns, found.object.endpoint) for found in seen.values() if isinstance(found.object, PluginLink)
    }

    def checked(call: PluginCall) -> PluginCall:
        answer = facts.answers.get((call.network, call.attachment)) if isinstance(call, PluginEndpoint) else None
        if not isinstance(call, PluginEndpoint) or answer is None or not answer.src_name:
            return call
        is_there = (call.ns, short_id(call.id)) in links or (Bridge.kind, HOST, answer.src_name) in seen
        return replace(call, is_complete=call.is_complete and is_there)

    return replace(facts, calls=tuple(map(checked, facts.calls)))


def seen_at_plugins(facts: PluginFacts) -> Iterator[Seen]:
    return (Seen(call, is_ours=True) for call in facts.calls)


def _tell(operations: Sequence[Operation], world: World) -> Sequence[Outcome]:
    from reconciler.kinds.plugin_calls import apply

    return apply(operations, world)


def _ask(operations: Sequence[Operation], world: World) -> Sequence[Outcome]:
    from reconciler.kinds.plugin_leases import apply

    return apply(operations, world)


_LEASES = get_args(PluginLease)
ROWS = tuple(Row(kind, SeenApart(seen_at_plugins), _ask if kind in _LEASES else _tell) for kind in get_args(PluginCall))
