"""A review as a comment on a pull request: a marker to find it by, folded per host, within GitHub's limit. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from reconciler.cli.review_words import (
    BETWEEN,
    entry_title,
    field_line,
    flow_counts,
    flow_parts,
    head_line,
    host_parts,
    place,
    shared_parts,
    shared_title,
    sum_line,
    told_of_host,
)
from reconciler.cli.terminal import printable
from reconciler.errors import SpecError
from reconciler.model.words import counted
from reconciler.review.values import HostReview, Review, SharedChange
from reconciler.status.verdict import undecided

MARKER: Final = "<!-- network-reconciler: plan -->"
"""By which whoever posts the comment finds it again, to replace it."""

LENGTH_MAX: Final = 65_000
"""Characters; GitHub refuses comments of more than 65,536."""

_ROOM_FOR_ENTRIES: Final = 25_000
_ROOM_FOR_FAULTS: Final = 10_000
_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]<>#|~@&])")


def review_markdown(review: Review) -> str:
    """Return the comment. What does not fit is counted."""
    hosts = [host.host for host in review.hosts]
    head = [MARKER, "### Networks: what this change means", ""]
    head += [f"{_text(head_line(review))}. **{_text(sum_line(review))}.**", ""]
    entries = [_entry(change, hosts) for change in review.changes]
    parts = [
        "\n".join(head),
        *_within(_faults(review.faults), _ROOM_FOR_FAULTS, "fault"),
        *_within(entries, _ROOM_FOR_ENTRIES, "change"),
    ]
    room = LENGTH_MAX - sum(map(len, parts)) - len(parts)
    is_known = review.is_of_pass or not review.faults
    changed = [host for host in review.hosts if _is_told(host)] if is_known else []
    folded = [_host(told_of_host(host, review.shared)) for host in changed]
    of_many = list(_within([*_between(review), *_shared(review)], room, "section"))
    parts += [*of_many, *_within(folded, room - sum(len(part) + 1 for part in of_many), "host")]
    return "\n".join(parts) + "\n"


def _within(parts: Sequence[str], room: int, noun: str) -> Iterator[str]:
    """Yield as many as there is room for, with a word on the rest."""
    for index, part in enumerate(parts):
        left = f"\n… and {counted(len(parts) - index, f'more {noun}')}\n"
        room -= len(part) + 1
        if room < (len(left) if index < len(parts) - 1 else 0):
            yield left
            return
        yield part


def _faults(faults: Sequence[SpecError]) -> list[str]:
    return [
        f"- **error** `{_code(f'{fault.file}:{fault.line}:{fault.column}')}` {_text(fault.message)}" for fault in faults
    ]


def _entry(change: SharedChange, hosts: Sequence[str]) -> str:
    stood = "stood at " if change.is_before else ""
    lines = [f"- **{_text(entry_title(change, hosts))}** ({stood}`{_code(place(change.source))}`)"]
    lines += [f"  - `{_code(field_line(field))}` (`{_code(place(field.source))}`)" for field in change.fields]
    return "\n".join(lines)


def _is_told(review: HostReview) -> bool:
    return bool(review.is_changed or undecided(review.report) or review.report.desired.remarks)


def _host(review: HostReview) -> str:
    title = (
        f"<b>host {_text(review.host)}</b>: {counted(len(review.hit), 'attachment')} hit, {flow_counts([review.flows])}"
    )
    lines = [f"\n<details><summary>{title}</summary>\n", *_parts(host_parts(review))]
    lines += [f"- ⚠ {_text(f'{issue.unit} stays as it is: {issue.message}')}" for issue in undecided(review.report)]
    lines += [f"- {_text(f'{unit}: {remark}')}" for unit, remark in review.report.desired.remarks]
    return "\n".join((*lines, "\n</details>"))


def _between(review: Review) -> Iterator[str]:
    if review.between and not review.faults:
        title = f"<b>{BETWEEN}</b>: {flow_counts([review.between])}"
        lines = _parts(flow_parts(review.between))
        yield "\n".join((f"\n<details><summary>{title}</summary>\n", *lines, "\n</details>"))


def _shared(review: Review) -> Iterator[str]:
    for network in review.shared:
        title = f"<b>{_text(shared_title(network))}</b>: {counted(len(network.parts), 'host')} with a part in it"
        lines = _parts((_text(heading), lines) for heading, lines in shared_parts(network))
        yield "\n".join((f"\n<details><summary>{title}</summary>\n", *lines, "\n</details>"))


def _parts(parts: Iterable[tuple[str, tuple[str, ...]]]) -> Iterator[str]:
    for heading, found in parts:
        yield f"**{heading}**\n"
        yield from (f"- {_text(line)}" for line in found)
        yield ""


def _text(text: str) -> str:
    """Take from names and values what Markdown or HTML would make of them, mentions of people included."""
    return (
        _SPECIAL.sub(r"\\\1", printable(text))
        .replace("\\<", "&lt;")
        .replace("\\>", "&gt;")
        .replace("\\@", "&#64;")
        .replace("\\&", "&amp;")
    )


def _code(text: str) -> str:
    return printable(text).replace("`", "'")
