"""What a restore has done so far, and why something failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable

from replicator.agent.refusals import refusal_of, shortened_detail
from replicator.wire.changes import NO_SPACE, ROOT_GONE

HOPELESS = frozenset((NO_SPACE, ROOT_GONE))
"""Reasons that all further names would be refused for as well."""


class Enough(Exception):
    """Raised when a restore must end; the text says why."""


@dataclass
class Tally:
    """Counts of one thread of a restore.

    Attributes:
        files: names that were created.
        content: bytes of them, and of large files that are being written.
        skipped: names that existed, or that live changes have removed.
        failed: names that could not be created.
        error: the first reason.
    """

    files: int = 0
    content: int = 0
    skipped: int = 0
    failed: int = 0
    error: str = ""

    @classmethod
    def of(cls, tallies: Iterable[Tally]) -> Tally:
        """Return the sum of tallies."""
        total = cls()
        for each in tallies:
            total.files += each.files
            total.content += each.content
            total.skipped += each.skipped
            total.failed += each.failed
            total.error = total.error or each.error
        return total

    def explain(self, text: str) -> None:
        """Record why something failed, unless another reason was recorded before."""
        self.error = self.error or shortened_detail(text)

    def created(self, size: int = 0) -> None:
        """Count a name that was created."""
        self.files += 1
        self.content += size

    def refused(self, error: Exception) -> None:
        """Count a name that could not be created.

        Raises:
            Enough: no other could be created either.
        """
        self.failed += 1
        refusal = refusal_of(error)
        text = f"{refusal.reason}: {refusal.detail}" if refusal.detail else refusal.reason
        self.explain(text)
        if refusal.reason in HOPELESS:
            raise Enough(text)
