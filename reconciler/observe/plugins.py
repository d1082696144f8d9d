"""What exists at plugins: what our records say, as far as the links that were seen bear it out. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from reconciler.model.identifiers import HOST, short_id
from reconciler.model.objects import Bridge, Key, PluginCall, PluginEndpoint, PluginLink, Seen
from reconciler.model.plugins import PluginFacts


def borne_out(facts: PluginFacts, seen: Mapping[Key, Seen]) -> PluginFacts:
    """Return the facts with those endpoints as not complete whose link is gone, as after a reboot."""
    if not facts.told:
        return facts
    links = {
        (found.object.ns, found.object.endpoint) for found in seen.values() if isinstance(found.object, PluginLink)
    }

    def checked(told: PluginCall) -> PluginCall:
        answer = facts.answers.get((told.network, told.attachment)) if isinstance(told, PluginEndpoint) else None
        if not isinstance(told, PluginEndpoint) or answer is None or not answer.src_name:
            return told
        is_there = (told.ns, short_id(told.id)) in links or (Bridge.kind, HOST, answer.src_name) in seen
        return replace(told, is_complete=told.is_complete and is_there)

    return replace(facts, told=tuple(map(checked, facts.told)))


def seen_at_plugins(facts: PluginFacts) -> Iterator[Seen]:
    return (Seen(told, is_ours=True) for told in facts.told)
