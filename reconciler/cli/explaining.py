"""`reconcile explain`: why one reaches another or does not, and what status says."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import click

from reconciler.cli.invoked import begin, enter_host
from reconciler.cli.names import names_of
from reconciler.cli.options import global_options
from reconciler.cli.terminal import show
from reconciler.errors import ConfigError, ExitCode, SpecError

if TYPE_CHECKING:
    from reconciler.settings import Settings

_FORMATS: Final = ("text", "json")
_DRIFT: Final = "drift"


@click.command()
@global_options()
@click.argument("subject", metavar="ATTACHMENT|REASON|drift", shell_complete=names_of("attachments"))
@click.argument("network", metavar="[NETWORK]", required=False, shell_complete=names_of("networks"))
@click.option("--to", "target", metavar="OTHER[:PORT[/udp]]|outside|host", help="Whom it shall reach.")
@click.option(
    "--live/--no-live",
    "is_live",
    default=None,
    help="With --to: look at this host too, and tell what it lacks [default: as root, where it had a pass].",
)
@click.option("--probe", "is_probing", is_flag=True, help="With --to: send packets, and name the step that fails.")
@click.option("--format", "format_", type=click.Choice(_FORMATS), default="text", show_default=True, help="Form.")
@click.pass_context
def explain(
    context: click.Context,
    *,
    subject: str,
    network: str | None,
    target: str | None,
    is_live: bool | None,
    is_probing: bool,
    format_: str,
) -> ExitCode:
    """Explain why an attachment reaches another or does not, with the lines of the specs.

    ATTACHMENT may be `host` or `outside` too. OTHER is an attachment, a name that one answers to, or an address. Exit code 5 when
    it does not, or when that is not known.

    Without `--to`: an attachment's interfaces, way out and ports, and whom it reaches; or what a reason or condition of `reconcile
    status` means and what to do about it, as `explain Stalled`; or, with `drift NETWORK`, what was put right there.
    """
    settings, is_json = begin(context).settings, format_ == "json"
    if network is not None:
        if subject != _DRIFT or target is not None:
            raise click.UsageError("a second name goes with `drift`: reconcile explain drift NETWORK")
        return _explain_drift(settings, network, is_json=is_json)
    if target is not None:
        return _explain_reach(
            settings, subject, target, is_live=is_probing or is_live, is_probing=is_probing, is_json=is_json
        )
    if is_live is not None or is_probing:
        raise click.UsageError("--live and --probe go with --to")
    return _explain_word(settings, subject, is_json=is_json)


def _explain_reach(
    settings: Settings, client: str, target: str, *, is_live: bool | None, is_probing: bool, is_json: bool
) -> ExitCode:
    from reconciler.backends import open_backends
    from reconciler.explain.declared import declared
    from reconciler.explain.explain import Here
    from reconciler.explain.explain import explain as explained
    from reconciler.explain.target import NobodyMeant
    from reconciler.explain.values import Verdict
    from reconciler.status.write import read_summary

    summary = read_summary(settings.status_dir)
    had_pass = summary.get("host") == settings.host
    try:
        if had_pass and os.geteuid() == 0 if is_live is None else is_live:
            enter_host(settings)
            with open_backends(settings, read_only=True) as backends:
                here = Here(summary=summary, backends=backends, is_probing=is_probing)
                explanation = explained(declared(settings), client, target, here)
        else:
            explanation = explained(declared(settings), client, target, Here(summary=summary))
    except NobodyMeant as error:
        raise click.UsageError(str(error)) from error
    if is_json:
        from reconciler.cli.explain_json import explanation_json

        show(explanation_json(explanation))
    else:
        from reconciler.cli.explain_text import explanation_text

        show(explanation_text(explanation))
    return ExitCode.OK if explanation.verdict is Verdict.YES else ExitCode.UNREACHED


def _explain_word(settings: Settings, text: str, *, is_json: bool) -> ExitCode:
    """Explain a reason or condition; what is none of these is an attachment."""
    from reconciler.cli.explain_status import word_json, word_text
    from reconciler.explain.status_words import find_word, word_meaning
    from reconciler.status.write import read_summary

    word = find_word(text)
    if word is None:
        return _explain_attachment(settings, text, is_json=is_json)
    meaning = word_meaning(word, read_summary(settings.status_dir))
    show(word_json(meaning) if is_json else word_text(meaning))
    return ExitCode.OK


def _explain_attachment(settings: Settings, name: str, *, is_json: bool) -> ExitCode:
    from reconciler.cli.explain_overview import overview_json, overview_text
    from reconciler.explain.declared import declared
    from reconciler.explain.overview import overview
    from reconciler.explain.status_words import similar_word
    from reconciler.explain.target import NobodyMeant

    try:
        found = overview(declared(settings), name)
    except (NobodyMeant, SpecError) as error:
        near = similar_word(name)
        if isinstance(error, SpecError) and not near:
            raise
        hint = f" Did you mean the word of the status `{near}`?" if near else ""
        raise click.UsageError(f"{error}.{hint}") from error
    show(overview_json(found) if is_json else overview_text(found))
    return ExitCode.UNREACHED if found.reasons else ExitCode.OK


def _explain_drift(settings: Settings, network: str, *, is_json: bool) -> ExitCode:
    from itertools import chain

    from reconciler.cli.explain_status import drift_json, drift_text
    from reconciler.explain.drift import drift_of
    from reconciler.status.write import read_summary
    from reconciler.watch.journal_reader import EventFiles

    files = EventFiles(settings.state_dir)
    try:
        drift = drift_of(network, read_summary(settings.status_dir), chain(files.earlier(), files.new()))
    finally:
        files.close()
    if not drift.is_known:
        raise ConfigError(f"network {network!r}: neither the last pass nor an event of this host tells of it")
    show(drift_json(drift) if is_json else drift_text(drift))
    return ExitCode.OK
