"""Who is told what the watcher does."""

from __future__ import annotations

from reconciler.errors import ReconcilerError
from reconciler.model.report import Report


class PassListener:
    """Is told what it does not override, too, and makes nothing of it. Must not take long and must not raise."""

    def passed(self, report: Report, elapsed_s: float, *, is_drift: bool) -> None:
        """A pass has ended. is_drift: the specs had not changed, so what it did was putting back what others changed."""

    def failed(self, error: ReconcilerError) -> None:
        """A pass could not be made at all; it will be tried again."""

    def beat(self) -> None:
        """The loop makes progress; called at least every few seconds."""

    def reloading(self) -> None:
        """SIGHUP came: a full pass follows."""

    def stopping(self) -> None:
        """The watcher ends; the networks stay."""
