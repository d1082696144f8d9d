"""A review for a terminal of 80 columns. Pure but for colours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import click

from reconciler.cli.object_lines import object_lines
from reconciler.cli.review_words import (
    BETWEEN,
    DRIFT,
    REACHES_NO_LONGER,
    REACHES_NOW,
    entry_title,
    field_line,
    flow_parts,
    head_line,
    host_parts,
    place,
    shared_parts,
    shared_title,
    sum_line,
    told_of_host,
)
from reconciler.cli.terminal import folded, printable
from reconciler.review.values import HostReview, Review, SharedChange
from reconciler.status.verdict import undecided

_COLOURS: Final = {"who is hit": "magenta", DRIFT: "yellow", REACHES_NOW: "green", REACHES_NO_LONGER: "red"}


def review_text(review: Review, *, is_coloured: bool, are_objects_wanted: bool = False) -> str:
    """Return the review; are_objects_wanted: with the objects of the kernel that change on each host."""
    text = "".join(f"{line}\n" for line in _lines(review, are_objects_wanted=are_objects_wanted))
    return text if is_coloured else click.unstyle(text)


def _lines(review: Review, *, are_objects_wanted: bool) -> Iterator[str]:
    hosts = [host.host for host in review.hosts]
    yield from folded(head_line(review), "")
    yield ""
    for change in review.changes:
        yield from _entry(change, hosts)
    if review.changes:
        yield ""
    for network in review.shared:
        yield click.style(shared_title(network), bold=True)
        yield from _parts(shared_parts(network))
        yield ""
    for host in review.hosts:
        lines = list(_host(told_of_host(host, review.shared), are_objects_wanted=are_objects_wanted))
        if lines:
            yield click.style(f"host {host.host}", bold=True)
            yield from lines
            yield ""
    if review.between:
        yield click.style(BETWEEN, bold=True)
        yield from _parts(flow_parts(review.between))
        yield ""
    yield from (click.style(line, bold=True) for line in folded(sum_line(review), ""))


def _entry(change: SharedChange, hosts: list[str]) -> Iterator[str]:
    yield from (click.style(line, bold=True) for line in folded(entry_title(change, hosts), ""))
    stood = "stood at " if change.is_before else ""
    if not change.fields:
        yield from folded(f"{stood}{place(change.source)}", "  ")
    for field in change.fields:
        yield from folded(f"{field_line(field)}  {place(field.source)}", "  ")


def _host(review: HostReview, *, are_objects_wanted: bool) -> Iterator[str]:
    yield from _parts(host_parts(review))
    for issue in undecided(review.report):
        yield from folded(printable(f"! {issue.unit} stays as it is: {issue.message}"), "  ")
    for unit, remark in review.report.desired.remarks:
        yield from folded(printable(f"warning: {unit}: {remark}"), "  ")
    if are_objects_wanted:
        yield from object_lines(review.report.plan.operations)


def _parts(parts: Iterable[tuple[str, tuple[str, ...]]]) -> Iterator[str]:
    for heading, lines in parts:
        yield click.style(f"  {heading}", fg=_COLOURS.get(heading))
        for line in lines:
            yield from folded(line, "    ")
