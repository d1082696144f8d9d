"""Has the status folder tell of passes."""

from __future__ import annotations

from contextlib import suppress

from msgspec.structs import replace

from reconciler.errors import KernelError, StatusError
from reconciler.model.objects import STATUS_UNIT
from reconciler.model.report import Report
from reconciler.settings import Settings
from reconciler.status.attachment_document import HOST_SANDBOX
from reconciler.status.files import Documents
from reconciler.status.revision import KnownRevision
from reconciler.status.summary import Revision
from reconciler.status.write import StatusFolder, Written, as_summary, read_summary


class Status:
    """The status folder of one who makes pass after pass. is_staying: who asks whether it is current, in each."""

    def __init__(self, settings: Settings, *, is_staying: bool = False) -> None:
        self._settings = settings
        self._folder = StatusFolder(settings.status_dir, is_followed=is_staying)
        self._documents: Documents | None = None
        self._revision = KnownRevision()

    def is_current(self) -> bool:
        """Return whether the folder is as it was left, and its revision is that of the specs."""
        return self._documents is not None and self._revision.is_current() and self._folder.is_as_left()

    def forget(self) -> None:
        """Hold all documents against their files the next time, as somebody may have changed one in its place."""
        self._documents = None
        self._revision.forget()

    def told(self, report: Report) -> Report:
        """Make the folder tell of `report`, as far as it can be written; give the report, with what could not be as a problem.

        What the pass did stands: a status that cannot be written is never a reason not to go on.
        """
        revision = self._revision.of(self._settings.specs_dir, report.digest)
        report = replace(report, revision=str(revision))
        try:
            self.tell(report, revision)
        except KernelError as error:
            report = report.with_problem(STATUS_UNIT, StatusError(str(error)))
            with suppress(KernelError):  # the summary may be writable, and say so
                self.tell(report, revision)
        return report

    def tell(self, report: Report, revision: Revision) -> Written:
        """Make the folder tell of `report`. A repeat writes nothing: same bytes, same times of change.

        Raises KernelError when it cannot be written.
        """
        documents, self._documents = self._documents, None  # what fails half-way is made from nothing
        if documents is None or not self._folder.is_as_left():
            documents = self._from_nothing()
        written = self._folder.write(documents.files(report, revision))
        self._documents = documents
        return written

    def _from_nothing(self) -> Documents:
        settings = self._settings
        left = self._folder.summary_left()
        self._folder.forget()
        host_sandbox = str(settings.host_netns or HOST_SANDBOX)
        previous = read_summary(settings.status_dir) if left is None else as_summary(left)
        return Documents(previous, netns_dir=settings.netns_dir, host_sandbox=host_sandbox)
