"""What the last pass said of those who are asked about. Needs no rights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reconciler.explain.values import About, Explanation, Question, Sentence
from reconciler.model.objects import Unit
from reconciler.records.lenient import items_of, mapping_of, text_of


def last_words(
    explanation: Explanation, question: Question, summary: Mapping[str, object], host: str
) -> Iterator[Sentence]:
    """Yield what was in the way of them. summary: of the last pass on this host, {} without one."""
    if text_of(summary, "host") != host:
        return
    units = [sentence.unit for sentence in explanation.path if sentence.unit is not None]
    units += [
        Unit(attachment=one.name) for one in (question.client, *question.servers) if one.name and one.host == host
    ]
    networks = dict.fromkeys(unit.network for unit in units if unit.network)
    attachments = dict.fromkeys(unit.attachment for unit in units if unit.attachment)
    for section, names in (("networks", networks), ("attachments", attachments)):
        for name in names:
            for condition in items_of(mapping_of(mapping_of(summary, section), name), "conditions"):
                if isinstance(condition, Mapping) and _is_in_the_way(condition):
                    text = (
                        f"the last pass said of {section.removesuffix('s')} {name}: {text_of(condition, 'reason')}, "
                        f"{text_of(condition, 'message')}"
                    )
                    yield Sentence(about=About.HOST, text=text)


def _is_in_the_way(condition: Mapping[str, object]) -> bool:
    return text_of(condition, "type") == "Ready" and text_of(condition, "status") != "True"
