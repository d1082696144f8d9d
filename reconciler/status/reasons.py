"""What each word of a status means and what to do about it: reasons, conditions, and the errors behind them.

`docs/reference/status-reasons.md` and `reconcile explain REASON` are made from it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Final, NamedTuple

from reconciler import errors
from reconciler.errors import ReconcilerError
from reconciler.status.verdict import REASONS, reason_of

Errors = tuple[type[ReconcilerError], ...]


class Meaning(NamedTuple):
    """says: what is so. advice: what to do, "" for nothing."""

    says: str
    advice: str = ""


CONDITIONS: Final[Mapping[str, Meaning]] = {
    "Ready": Meaning(
        "it is as declared (`True`), it is not (`False`), or it is suspended (`Unknown`); always there",
        "where it is not `True`, see its reason",
    ),
    "Reconciling": Meaning("it is not as declared, and the next pass may mend it", "wait, or see its message"),
    "Stalled": Meaning(
        "it is not as declared, and stays so until a person acts",
        "do what its reason asks for, then `reconcile`, or `reconcile retry NAME` where a watcher runs",
    ),
    "Probed": Meaning("real packets of `watch --probe` go as the specs say, or do not", "see its reason"),
}
"""Types of conditions."""

MEANINGS: Final[Mapping[str, Meaning]] = {
    "AddressesAwaited": Meaning("a plugin is asked for what only it can tell", "wait for the next pass"),
    "AnothersHost": Meaning(
        "the host is run from other folders of state or specs, which the message names",
        "run it from these, or `reconcile --take-over`",
    ),
    "ApplyFailed": Meaning(
        "the kernel, nftables or something else refused a change, which was undone",
        "mend what the message names; the next pass tries what may help",
    ),
    "BuildFailed": Meaning(
        "the specs are fine, and this host cannot have them: an address, a subnet or a port is another's",
        "choose another one in the specs, or free what the message names",
    ),
    "DriftDetected": Meaning(
        "it drifted, and its `on_drift: warn` leaves it so",
        "`reconcile --dry-run` shows what; `on_drift: correct` puts it back",
    ),
    "FightingWriter": Meaning(
        "somebody else keeps changing back what is corrected, so it is left alone for a while",
        "stop whoever it is, then `reconcile retry NAME`",
    ),
    "FirewallMissing": Meaning("neither libnftables nor `nft` is there", "install nftables"),
    "KVUnavailable": Meaning(
        "the key-value store cannot be reached, or lost a write to another host",
        "see to `--cluster-store`; what runs goes on as it was",
    ),
    "NamesUnavailable": Meaning("the name server of the sandboxes does not run as it should", "see its server.log"),
    "OwnershipConflict": Meaning(
        "something that is not ours stands under a name that we need", "remove it, or choose another name in the specs"
    ),
    "ParentMissing": Meaning(
        "the link that a macvlan or ipvlan network sits on is not there", "make it, or mend `parent` in the specs"
    ),
    "PluginFailed": Meaning("a network plugin does not answer, or refused", "start or mend the plugin"),
    "Protected": Meaning(
        "it is not declared any more, and protected", "declare it again, or `reconcile --unprotect NAME`"
    ),
    "PruneGuard": Meaning(
        "more would be removed at once than `--prune-limit` allows", "declare it again, or `reconcile --allow-prune`"
    ),
    "RepositoryUnreachable": Meaning(
        "the repository of the specs cannot be fetched from", "see to the network, or URL"
    ),
    "RevisionRefused": Meaning(
        "a commit is not signed as it should be, or has faults; the one before stays in force", "mend the commit"
    ),
    "RolledBack": Meaning(
        "these specs could not be brought about; the last good ones are in force",
        "change the specs: then they are tried",
    ),
    "SandboxMissing": Meaning(
        "the namespace, process or container is not there", "start what it belongs to: it is joined then"
    ),
    "StatusNotWritten": Meaning("files of status or state cannot be written", "free the disk, or mend their rights"),
    "Superseded": Meaning(
        "other specs were confirmed on trial in place of these", "change these specs, or run the host from the others"
    ),
    "Suspended": Meaning("somebody suspended it: passes change nothing of it", "`reconcile resume NAME`"),
    "ValidationFailed": Meaning("the specs have a fault", "mend its line: `reconcile validate` names all"),
    "ReconciliationSucceeded": Meaning("as declared; the message names what is worth knowing all the same"),
    "ProgressingWithRetry": Meaning("of `Reconciling`: the next pass may mend it", "wait, or see the message"),
    "VerifyFailed": Meaning(
        "the last look still found something different after the pass: what, says the message",
        "the next pass tries again; if it stays, somebody else changes it",
    ),
    "LastGoodInUse": Meaning(
        "left as it was, because not all specs can be read", "mend the faults: `reconcile validate` names them"
    ),
    "PacketsAgree": Meaning("of `Probed`: packets go as the specs say"),
    "PacketsDisagree": Meaning(
        "of `Probed`: packets do not go as the specs say",
        "`reconcile explain ONE --to OTHER --probe` for those it names",
    ),
    "NotAsked": Meaning("of `Probed`: nobody was asked yet", "wait"),
    "OperationFailed": Meaning(
        "of events: the operation by which a network or attachment failed, where its own reason does not say",
        "see the reason of the network or attachment",
    ),
    "PassFailed": Meaning("of events: no pass was possible", "mend what the message names"),
}
"""By reason; those that errors have first."""


def errors_of(reason: str) -> Errors:
    """Return the classes of errors that have a reason: each has the first of a class that it is one of."""
    return tuple(kind for kind in map(error_class, error_meanings()) if reason_of(kind) == reason)


def error_class(name: str) -> type[ReconcilerError]:
    kind: type[ReconcilerError] = getattr(errors, name)
    return kind


@cache
def error_meanings() -> Mapping[str, str]:
    """Return what the docstring of `reconciler.errors` says of each class, but of the root, which is none by itself."""
    return dict(re.findall(r"^ {6,}([A-Z]\w+) +(\S.*)$", errors.__doc__ or "", flags=re.MULTILINE))


def is_error_reason(reason: str) -> bool:
    return reason == "ApplyFailed" or any(reason == each for _, each in REASONS)


def tried_again(kinds: Errors) -> str:
    """Return whether the watcher tries again by itself: "by itself", "no", or "some" where it is so of some alone."""
    again = {kind.is_retryable for kind in kinds}
    return "by itself" if again == {True} else "no" if again == {False} else "some"


def without_code(meaning: str) -> str:
    """Return what an error means without the exit code at its end."""
    return re.sub(r" [(]exit [0-9]+[)]$", "", meaning)
