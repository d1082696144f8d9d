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
from reconciler.status.revision import laid_out_commit, specs_revision
from reconciler.status.summary import Revision
from reconciler.status.write import StatusFolder, Written, read_summary


class Status:
    """The status folder of one who makes pass after pass."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = StatusFolder(settings.status_dir)
        self._documents: Documents | None = None
        self._asked: tuple[str, Revision] | None = None

    @property
    def is_remembered(self) -> bool:
        """Return whether what the folder was left with is known."""
        return self._documents is not None

    def forget(self) -> None:
        """Hold all documents against their files the next time, as somebody may have changed one in its place."""
        self._documents = self._asked = None

    def told(self, report: Report) -> Report:
        """Make the folder tell of `report`, as far as it can be written; give the report, with what could not be as a problem.

        What the pass did stands: a status that cannot be written is never a reason not to go on.
        """
        revision = self._revision(report.digest)
        report = replace(report, revision=str(revision))
        try:
            self.tell(report, revision)
        except KernelError as error:
            report = report.with_problem(STATUS_UNIT, StatusError(str(error)))
            with suppress(KernelError):  # the summary may be writable, and say so
                self.tell(report, revision)
        return report

    def _revision(self, digest: str) -> Revision:
        """Return what the specs are at. git, a process, is asked again when they are others, or all is held against its files."""
        folder = self._settings.specs_dir
        laid = laid_out_commit(folder)
        if laid:
            return Revision(commit=laid)
        if self._asked is None or self._asked[0] != digest:
            self._asked = digest, specs_revision(folder)
        return self._asked[1]

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
        self._folder.forget()
        host_sandbox = str(settings.host_netns or HOST_SANDBOX)
        previous = read_summary(settings.status_dir)
        return Documents(previous, netns_dir=settings.netns_dir, host_sandbox=host_sandbox)
