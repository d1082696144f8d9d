"""A dry run: what a change of the specs means, for one host as it is, or for all hosts without any."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import click

from reconciler.cli.forms import GIT, Form, for_machines, is_text_shown, write_out
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


def dry_run(
    context: click.Context,
    orders: Orders,
    *,
    against: str,
    outputs: Sequence[Form],
    are_objects_wanted: bool,
    hosts_file: str | None,
    is_detailed: bool,
) -> ExitCode:
    """Print the review. Nothing is written anywhere but where somebody asked for it."""
    is_for_hosts = against.startswith(GIT)
    invoked = begin(context, is_for_hosts=is_for_hosts)
    if is_for_hosts:
        review = _of_revision(invoked, against.removeprefix(GIT), hosts_file)
    else:
        review = _of_pass(invoked.settings, against, orders)
    if is_text_shown(outputs):
        for fault in review.faults:
            log_fault(fault)
        log_spec_warnings(review.warnings)
    write_out(outputs, partial(_rendered, review, are_objects_wanted, str(invoked.settings.specs_dir)))
    if any(form.name == "github" for form in outputs):
        _add_step_summary(review)
    codes = [issue.exit_code for host in review.hosts for issue in undecided(host.report)]
    code = first_to_mend([*codes, ExitCode.BAD_SPECS] if review.faults else codes)
    return ExitCode.CHANGES if code is ExitCode.OK and is_detailed and review.is_changed else code


def _of_revision(invoked: Invocation, target: str, hosts_file: str | None) -> Review:
    """Compare two versions of the specs. Needs no rights, asks no host, and leaves the checkout alone."""
    from reconciler.comparison import ALL, compare_with_revision

    hosts = invoked.hosts or ALL
    return compare_with_revision(invoked.settings, target, hosts, Path(hosts_file) if hosts_file else None)


def _of_pass(settings: Settings, against: str, orders: Orders) -> Review:
    from reconciler import pipeline
    from reconciler.backends import open_backends
    from reconciler.review.make_review import review_pass

    if against == "live":
        enter_host(settings)
    with open_backends(settings, read_only=True) as backends:
        return review_pass(pipeline.plan_pass(settings, backends, against=against, orders=orders), against)


def _rendered(review: Review, are_objects_wanted: bool, specs_dir: str, name: str, is_coloured: bool) -> str:
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

            return workflow_commands(review_findings(review), sum_line(review))
        case "sarif" | "junit":
            from reconciler.cli.review_findings import checked_review

            return for_machines(name, checked_review(review), specs_dir)
    from reconciler.cli.review_text import review_text

    return review_text(review, is_coloured=is_coloured, are_objects_wanted=are_objects_wanted)


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
