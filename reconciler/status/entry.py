"""One entry of summary.json: whether something is as declared, since when, and what was in the way. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from reconciler.errors import ExitCode
from reconciler.model.objects import HOST_UNIT
from reconciler.model.report import Probed
from reconciler.records.lenient import items_of, mapping_of, text_of
from reconciler.status.json_text import Json, Rendered
from reconciler.status.verdict import Unsettled

READY_MESSAGE: Final = "as declared"
_FAILED: Final = ("ApplyFailed", "VerifyFailed")
"""Why something is not as declared although nothing that it needs is missing."""

LAST_GOOD: Final = Unsettled(
    unit=HOST_UNIT,
    reason="LastGoodInUse",
    message="left as it was, because not all specs can be read",
    is_retryable=False,
    exit_code=ExitCode.BAD_SPECS,
)
"""Of what cannot be read any more, or was taken away while something else cannot be read: nothing of it was touched."""

_PROBED: Final = {"PacketsAgree": "True", "PacketsDisagree": "False", "NotAsked": "Unknown"}

_MEMBERS: Final = ("conditions", "observedRevision", "specDigest", "verifiedDigest", "driftRepaired", "lastError")

REVISION: Final = Rendered("\0")
DIGEST: Final = Rendered("\1")
"""Stand in documents for what is the latest pass's, so that an entry's text outlives it; no JSON text has these characters."""


class StatusCondition(Struct, frozen=True):
    type: str
    status: str
    reason: str
    message: str
    time: str

    def document(self) -> dict[str, Json]:
        return {
            "type": self.type,
            "status": self.status,
            "reason": self.reason,
            "message": self.message,
            "lastTransitionTime": self.time,
        }


class StatusEntry(Struct, frozen=True, kw_only=True):
    """revision, digest: of the specs of its last pass. verified: digest of those with which it was last found as declared, "" if it
    never was. None: those of the latest pass. last_error: message and when it was first seen; it stays when all is well again.
    """

    conditions: tuple[StatusCondition, ...] = ()
    revision: str | None = ""
    digest: str | None = ""
    verified: str | None = ""
    drift_repaired: int = 0
    last_error: tuple[str, str] | None = None

    def document(self, members: Sequence[str] = _MEMBERS) -> dict[str, Json]:
        """members: those wanted, in order."""
        error: Json = None
        if self.last_error is not None:
            error = {"message": self.last_error[0], "time": self.last_error[1]}
        shown: dict[str, Json] = {
            "conditions": [condition.document() for condition in self.conditions],
            "observedRevision": REVISION if self.revision is None else self.revision,
            "specDigest": DIGEST if self.digest is None else self.digest,
            "verifiedDigest": DIGEST if self.verified is None else self.verified,
            "driftRepaired": self.drift_repaired,
            "lastError": error,
        }
        return {member: shown[member] for member in members}

    def of_pass(self, revision: str, digest: str) -> StatusEntry:
        """Return it once its pass is the latest no more."""
        return replace(
            self,
            revision=revision if self.revision is None else self.revision,
            digest=digest if self.digest is None else self.digest,
            verified=digest if self.verified is None else self.verified,
        )

    def was_verified(self, digest: str) -> bool:
        """Return whether it was as declared by these specs, and passes only failed since: a sandbox missing then comes new."""
        if self._since("Ready", "True"):
            return True
        return self.verified == digest and any(each.reason in _FAILED for each in self.conditions)

    def next(
        self, issue: Unsettled | None, now: str, *, remark: str = "", repaired: int = 0, probed: Probed | None = None
    ) -> StatusEntry:
        """Return it after one more pass. remark: what to know of what is as declared. repaired: changes that put something back."""
        is_left = issue is LAST_GOOD
        return StatusEntry(
            conditions=tuple(
                StatusCondition(kind, status, reason, message, self._since(kind, status) or now)
                for kind, status, reason, message in (*_conditions(issue, remark), *_probed(probed))
            ),
            revision=self.revision if is_left else None,
            digest=self.digest if is_left else None,
            verified=None if issue is None else self.verified,
            drift_repaired=self.drift_repaired + (0 if is_left else repaired),
            last_error=self._next_error(issue, now),
        )

    def _next_error(self, issue: Unsettled | None, now: str) -> tuple[str, str] | None:
        if issue is None or issue.is_on_purpose or (self.last_error and self.last_error[0] == issue.message):
            return self.last_error
        return issue.message, now

    def _since(self, kind: str, status: str) -> str:
        return next((each.time for each in self.conditions if (each.type, each.status) == (kind, status)), "")


def _conditions(issue: Unsettled | None, remark: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield type, status, reason and message. After kstatus: `Ready` always; only while true `Reconciling` (the next pass may mend
    it) and `Stalled` (a person must act).
    """
    if issue is None:
        message = f"{READY_MESSAGE}, but {remark}" if remark else READY_MESSAGE
        yield "Ready", "True", "ReconciliationSucceeded", message
        return
    yield "Ready", "Unknown" if issue.reason == "Suspended" else "False", issue.reason, issue.message
    if issue.is_on_purpose:
        return
    if issue.is_retryable:
        yield "Reconciling", "True", "ProgressingWithRetry", issue.message
    else:
        yield "Stalled", "True", issue.reason, issue.message


def _probed(probed: Probed | None) -> Iterator[tuple[str, str, str, str]]:
    if probed is not None:
        yield "Probed", _PROBED[probed.reason], probed.reason, probed.message


def read_entry(document: Mapping[str, object]) -> StatusEntry:
    """Read an entry of a file, whatever that holds; the whole document tells of the host in the same words."""
    error = mapping_of(document, "lastError")
    message, time, count = error.get("message"), error.get("time"), document.get("driftRepaired")
    return StatusEntry(
        conditions=tuple(
            _read_condition(each) for each in items_of(document, "conditions") if isinstance(each, Mapping)
        ),
        revision=text_of(document, "observedRevision"),
        digest=text_of(document, "specDigest"),
        verified=text_of(document, "verifiedDigest"),
        drift_repaired=count if isinstance(count, int) and not isinstance(count, bool) else 0,
        last_error=(message, time) if isinstance(message, str) and isinstance(time, str) else None,
    )


def _read_condition(document: Mapping[str, object]) -> StatusCondition:
    members = ("type", "status", "reason", "message", "lastTransitionTime")
    return StatusCondition(*(text_of(document, member) for member in members))
