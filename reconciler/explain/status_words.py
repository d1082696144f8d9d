"""What a word of the status means, what to do about it, and of what the last pass said it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches

from msgspec import Struct

from reconciler.records.lenient import items_of, mapping_of, text_of
from reconciler.status.reasons import (
    CONDITIONS,
    MEANINGS,
    error_class,
    error_meanings,
    errors_of,
    is_error_reason,
    tried_again,
    without_code,
)
from reconciler.status.verdict import reason_of

_SECTIONS = ("networks", "attachments")
_SERVICES = ("names", "cluster")


class Said(Struct, frozen=True, kw_only=True):
    """Something that the last pass said it of. who: "host", "network front". since: as in the status."""

    who: str
    message: str
    since: str


class WordMeaning(Struct, frozen=True, kw_only=True):
    """A reason, a condition or an error, as errors are called in metrics. reason: the one that an error has.

    tried_again: "by itself", "no", "some", or "" for what no error has. errors: their names with what each says.
    """

    word: str
    kind: str
    says: str
    advice: str = ""
    reason: str = ""
    tried_again: str = ""
    exit_codes: tuple[int, ...] = ()
    errors: tuple[tuple[str, str], ...] = ()
    now: tuple[Said, ...] = ()


def known_words() -> tuple[str, ...]:
    return (*CONDITIONS, *MEANINGS, *error_meanings())


def find_word(text: str) -> str | None:
    """Return the word that is meant, whatever case it is typed in."""
    return next((word for word in known_words() if word.lower() == text.lower()), None)


def similar_word(text: str) -> str:
    near = get_close_matches(text, known_words(), n=1)
    return near[0] if near else ""


def word_meaning(word: str, summary: Mapping[str, object]) -> WordMeaning:
    """Return what a word means. summary: of the last pass, {} without one."""
    if word in CONDITIONS:
        says, advice = CONDITIONS[word]
        wanted = "False" if word == "Ready" else "True"
        now = tuple(_said(summary, lambda one: (one["type"], one["status"]) == (word, wanted)))
        return WordMeaning(word=word, kind="condition", says=says, advice=advice, now=now)
    if word in MEANINGS:
        return _reason(word, summary)
    reason = reason_of(error_class(word))
    told = _reason(reason, summary)
    kind = error_class(word)
    return WordMeaning(
        word=word,
        kind="error",
        says=without_code(error_meanings()[word]),
        advice=told.advice,
        reason=reason,
        tried_again=tried_again((kind,)),
        exit_codes=(int(kind.exit_code),),
        now=told.now,
    )


def _reason(word: str, summary: Mapping[str, object]) -> WordMeaning:
    says, advice = MEANINGS[word]
    kinds = errors_of(word) if is_error_reason(word) else ()
    return WordMeaning(
        word=word,
        kind="reason",
        says=says,
        advice=advice,
        tried_again=tried_again(kinds) if kinds else "",
        exit_codes=tuple(sorted({int(kind.exit_code) for kind in kinds})),
        errors=tuple((kind.__name__, without_code(error_meanings()[kind.__name__])) for kind in kinds),
        now=tuple(_said(summary, lambda one: one["reason"] == word)) if word != "ReconciliationSucceeded" else (),
    )


def _said(summary: Mapping[str, object], fits: Callable[[Mapping[str, str]], bool]) -> Iterator[Said]:
    for who, entry in _entries(summary):
        for condition in items_of(entry, "conditions"):
            if isinstance(condition, Mapping):
                members = ("type", "status", "reason", "message", "lastTransitionTime")
                one = {member: text_of(condition, member) for member in members}
                if fits(one):
                    yield Said(who=who, message=one["message"], since=one["lastTransitionTime"])
                    break


def _entries(summary: Mapping[str, object]) -> Iterator[tuple[str, Mapping[str, object]]]:
    yield "host", summary
    for name in _SERVICES:
        yield name, mapping_of(summary, name)
    for section in _SECTIONS:
        for name, entry in sorted(mapping_of(summary, section).items()):
            if isinstance(entry, Mapping):
                yield f"{section.removesuffix('s')} {name}", entry
