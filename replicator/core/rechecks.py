"""Paths that were checked and must be checked again at a later time, for a reason.

- MISSING: nothing was found at a recorded path. Editors rename a file and write a new one, and deployments swap directories, so a
  path counts as deleted only after it has been missing for GRACE seconds without an event about it. Until then the frontends keep
  their copies.
- UNSTABLE: the timestamps of a file were so recent that a further change might not alter them. Its record is confirmed later.
- UNREADABLE: a file could not be read. No event tells that it can be read again, after a chmod of a parent directory for example.

Times are seconds of a monotonic clock, passed in by the caller.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator
from itertools import islice

from replicator.model import ROOT, ancestors, rebase

GRACE = 0.5
"""Seconds for which a path must be missing. Scripts that remove and rewrite a file take less."""

CONFIRM = 1.0
"""Seconds until an unstable record is confirmed: far beyond the clock granularity of any file system but FAT."""

FLAPPING = 10.0
"""Seconds for which the checks of a path that is missing again and again count as answering the event that was first: longer than the
longest cooldown of the default settings (8 s)."""

RETRY = 10.0
"""Seconds between two attempts to read an unreadable path."""


class Reason(enum.Enum):
    """Why a path is checked again."""

    MISSING = "missing"
    UNSTABLE = "unstable"
    UNREADABLE = "unreadable"


MOST = {Reason.MISSING: 64, Reason.UNSTABLE: 500, Reason.UNREADABLE: 64}
"""Paths checked at once. 64 is the catalog's transaction size; a confirmation takes 10 us. After `rm -r` of a large directory, uploads
are checked in between."""


RENAMED = 1000
"""Paths that `renamed` examines at once, 2 us each if they are below the renamed directory; there may be 200,000."""


class Rechecks:
    """Due times by reason and path.

    A missing path that `take` has returned still counts as missing until `checked_missing` is called. An unreadable path is scheduled
    again when `take` returns it: it stays listed until `readable`, however long the attempt takes.

    Attributes:
        renames: number of directories that were renamed.
    """

    def __init__(self) -> None:
        # Due times are added in increasing order, so the first entries are due first.
        self._due: dict[Reason, dict[bytes, float]] = {reason: {} for reason in Reason}
        self._taken: set[bytes] = set()  # missing paths that are being checked
        self._missing_since: dict[bytes, float] = {}
        self.renames = 0

    def missing(self, path: bytes, now: float, since: float | None = None) -> bool:
        """Record that a check found nothing at a path; return True if its grace period is over.

        Args:
            path: the path.
            now: the current time.
            since: time of the first event that the check has answered; default: `now`.
        """
        if path in self._taken:
            return True
        self._missing_since.setdefault(path, now if since is None else since)
        self._due[Reason.MISSING].setdefault(path, now + GRACE)
        return False

    def unstable(self, path: bytes, now: float) -> None:
        """Schedule the confirmation of a record. Due times are rounded up to full seconds, so that paths become due together."""
        self._schedule(Reason.UNSTABLE, path, math.ceil(now + CONFIRM))

    def unreadable(self, path: bytes, now: float) -> bool:
        """Schedule another attempt to read a path; return True unless it was known to be unreadable."""
        is_new = not self.is_unreadable(path)
        self._schedule(Reason.UNREADABLE, path, math.ceil(now + RETRY))
        return is_new

    def _schedule(self, reason: Reason, path: bytes, due: float) -> None:
        self._due[reason].pop(path, None)
        self._due[reason][path] = due

    def heard(self, path: bytes) -> float | None:
        """Record an event about a path: if the path is still missing, its grace period starts again.

        Returns:
            The time of the first event that its next check will answer; None if it was not missing.
        """
        since = self._missing_since.get(path)
        self._drop(Reason.MISSING, path)
        return since

    def readable(self, path: bytes) -> None:
        """Record that a path was read, is deleted, or is excluded."""
        self._drop(Reason.UNREADABLE, path)

    def _drop(self, reason: Reason, path: bytes) -> None:
        self._due[reason].pop(path, None)
        if reason is Reason.MISSING:
            self._taken.discard(path)
            self._missing_since.pop(path, None)

    def renamed(self, source: bytes, target: bytes, now: float) -> Iterator[None]:
        """Record that the catalog has renamed a directory: paths below it are rechecked by their new names.

        The grace period of missing ones starts again: events about their new names came before this call.

        Yields after each RENAMED paths. Until it ends, only `heard` may be called, and what does not change anything.
        """
        self.renames += 1
        below = source + b"/"
        schedules = (
            (Reason.MISSING, self.missing),
            (Reason.UNSTABLE, lambda path, now, _: self.unstable(path, now)),
            (Reason.UNREADABLE, lambda path, now, _: self.unreadable(path, now)),
        )
        for reason, schedule in schedules:
            for number, path in enumerate(list(self._due[reason])):
                if number % RENAMED == RENAMED - 1:
                    yield
                if not path.startswith(below) and path != source:
                    continue
                if path not in self._due[reason]:
                    continue  # it was heard of
                moved = rebase(path, source, target)
                since = self._missing_since.get(path)
                self._drop(reason, path)
                self._drop(reason, moved)
                schedule(moved, now, since)

    def take(self, reason: Reason, now: float) -> list[bytes]:
        """Return some paths that are due. After the check of missing ones the caller calls `checked_missing`."""
        due = self._due[reason]
        some: list[bytes] = []
        for path, at in islice(due.items(), MOST[reason]):
            if at > now:
                break
            some.append(path)
        for path in some:
            del due[path]
            if reason is Reason.UNREADABLE:
                self.unreadable(path, now)
        if reason is Reason.MISSING:
            self._taken.update(some)
        return some

    def checked_missing(self) -> None:
        """Forget the missing paths that `take` has returned and about which no event came since."""
        for path in self._taken:
            self._missing_since.pop(path, None)
        self._taken.clear()

    def next_due(self) -> float | None:
        """Return the time at which to call `take` next; None if nothing is scheduled."""
        return min((next(iter(due.values())) for due in self._due.values() if due), default=None)

    def is_unreadable(self, path: bytes) -> bool:
        """Return True if the last attempt to read a path failed."""
        return path in self._due[Reason.UNREADABLE]

    @property
    def has_unreadable(self) -> bool:
        """True if some path cannot be read."""
        return bool(self._due[Reason.UNREADABLE])

    def is_missing(self, path: bytes) -> bool:
        """Return True if nothing was found at a path, and its grace period is not over."""
        return path in self._due[Reason.MISSING] or path in self._taken

    def missing_paths(self) -> list[bytes]:
        """Return the paths for which `is_missing` returns True."""
        return [*self._due[Reason.MISSING], *self._taken]

    @property
    def missing_count(self) -> int:
        """Number of the paths for which `is_missing` returns True."""
        return len(self._due[Reason.MISSING]) + len(self._taken)

    def unreadable_paths(self, area: bytes = ROOT) -> list[bytes]:
        """Return at most 100 unreadable paths at and below a path, and directories above it that cannot be listed."""
        # There may be 200,000, after a `chmod -R`: to examine and sort all would block the event loop for 200 ms.
        above = {one for one in (*ancestors(area), ROOT, area) if self.is_unreadable(one)}
        prefix = area + b"/" if area else b""
        below = (one for one in self._due[Reason.UNREADABLE] if one.startswith(prefix))
        return sorted(above.union(islice(below, 100)))[:100]

    def forget_missing(self) -> None:
        """Forget all missing paths; the caller scans the whole tree."""
        self._due[Reason.MISSING].clear()
        self._taken.clear()
        self._missing_since.clear()
