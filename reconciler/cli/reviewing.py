"""A dry run: what a change of the specs means, for one host as it is, or for all hosts without any."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import click
from msgspec import Struct

from reconciler.cli.forms import GIT, SNAPSHOT, Form, for_machines, is_text_shown, write_out
from reconciler.cli.invocation import Invocation
from reconciler.cli.invoked import begin, enter_host
from reconciler.cli.logs import log
from reconciler.cli.pass_log import log_fault, log_spec_warnings
from reconciler.errors import ExitCode
from reconciler.guard.orders import Orders
from reconciler.review.values import Review
from reconciler.settings import Settings
from reconciler.status.verdict import first_to_mend, undecided

_STEP_SUMMARY: Final = "GITHUB_STEP_SUMMARY"


class Asked(Struct, frozen=True, kw_only=True):
    """What somebody wants to see of a dry run, as the options of the command line say."""

    against: str
    outputs: Sequence[Form]
    are_objects_wanted: bool
    hosts_file: str | None
    fail_on: tuple[str, ...]
    out: str | None
    is_detailed: bool


def dry_run(context: click.Context, orders: Orders, asked: Asked) -> ExitCode:
    """Print the review. Nothing is written anywhere but where somebody asked for it."""
    is_of_snapshot, is_for_hosts = asked.against.startswith(SNAPSHOT), asked.against.startswith(GIT)
    invoked = begin(context, is_for_hosts=is_of_snapshot or is_for_hosts)
    if is_for_hosts:
        review = _of_revision(invoked, asked)
    elif is_of_snapshot:
        review = _of_snapshot(invoked, asked, orders)
    else:
        review = _of_pass(invoked.settings, asked, orders)
    if is_text_shown(asked.outputs):
        for fault in review.faults:
            log_fault(fault)
        log_spec_warnings(review.warnings)
    write_out(asked.outputs, partial(_rendered, review, asked, str(invoked.settings.specs_dir)))
    if any(form.name == "github" for form in asked.outputs):
        _add_step_summary(review)
    codes = [issue.exit_code for host in review.hosts for issue in undecided(host.report)]
    codes += [ExitCode.BAD_SPECS] if review.faults else []
    codes += [ExitCode.GUARDED] if asked.fail_on and _has_unwanted(review, asked.fail_on) else []
    code = first_to_mend(codes)
    return ExitCode.CHANGES if code is ExitCode.OK and asked.is_detailed and review.is_changed else code


def _has_unwanted(review: Review, conditions: Sequence[str]) -> bool:
    """Return whether there is something of these conditions, and tell all of it."""
    from reconciler.cli.review_words import match_lines
    from reconciler.review.conditions import FailCondition, matches

    found = matches(review, map(FailCondition, conditions))
    for match in found:
        for line in match_lines(match):
            log.error("--fail-on %s", line)
    return bool(found)


def _of_revision(invoked: Invocation, asked: Asked) -> Review:
    """Compare two versions of the specs. Needs no rights, asks no host, and leaves the checkout alone."""
    from reconciler.comparison import ALL, compare_with_revision

    hosts_file = Path(asked.hosts_file) if asked.hosts_file else None
    target = asked.against.removeprefix(GIT)
    return compare_with_revision(invoked.settings, target, invoked.hosts or ALL, hosts_file)


def _of_snapshot(invoked: Invocation, asked: Asked, orders: Orders) -> Review:
    """Plan for a host as it was. Told as if it were still so."""
    from reconciler.review.make_review import review_pass
    from reconciler.snapshots import plan_from

    file = asked.against.removeprefix(SNAPSHOT)
    return review_pass(plan_from(file, invoked.settings, invoked.hosts, orders), "live")


def _of_pass(settings: Settings, asked: Asked, orders: Orders) -> Review:
    from reconciler import pipeline
    from reconciler.backends import open_backends
    from reconciler.review.make_review import review_pass

    if asked.against == "live":
        enter_host(settings)
    with open_backends(settings, read_only=True) as backends:
        planned = pipeline.plan_pass(settings, backends, against=asked.against, orders=orders)
    review = review_pass(planned, asked.against)
    if asked.out and not review.faults:
        from reconciler.cli.saved_plan import save_plan

        save_plan(asked.out, planned, settings, orders)
    return review


def _rendered(review: Review, asked: Asked, specs_dir: str, name: str, is_coloured: bool) -> str:
    match name:
        case "json":
            from reconciler.cli.review_json import review_json

            return review_json(review)
        case "markdown":
            from reconciler.cli.review_markdown import review_markdown

            return review_markdown(review)
        case "github":
            from reconciler.cli.diagnostics import workflow_commands
            from reconciler.cli.review_findings import review_findings
            from reconciler.cli.review_words import sum_line

            return workflow_commands(review_findings(review, asked.fail_on), sum_line(review))
        case "sarif" | "junit":
            from reconciler.cli.review_findings import checked_review

            return for_machines(name, checked_review(review, asked.fail_on), specs_dir)
    from reconciler.cli.review_text import review_text

    return review_text(review, is_coloured=is_coloured, are_objects_wanted=asked.are_objects_wanted)


def _add_step_summary(review: Review) -> None:
    """Add the Markdown to the page of the run, where GitHub says where that is. It is no failure when that cannot be done."""
    file = os.environ.get(_STEP_SUMMARY)
    if not file:
        return
    from reconciler.cli.review_markdown import review_markdown

    try:
        with open(file, "a", encoding="utf-8", errors="backslashreplace") as opened:
            opened.write(review_markdown(review))
    except OSError as error:
        log.warning("%s: the step summary cannot be written: %s", file, error.strerror)
