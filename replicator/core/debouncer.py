"""Debouncer: decides when to check the paths that hints name.

A path is checked at once or after its cooldown (`core.check_queue`); a directory whose names change, a little later. A rename takes
the pending checks below its old name along, because hints are about names. Waiting loses nothing: a check reads the state at the
time of the check, not at the time of the hint.

Times are seconds of a monotonic clock, passed in by the caller.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from itertools import chain, islice
from typing import NamedTuple

from replicator.core.check_queue import CheckQueue
from replicator.core.renames import Renames
from replicator.model import ROOT, Hint, Hinted, parent

MANY = 50
"""Pending renames above which `between` returns nothing: testing each check against each rename takes 1 us per pair."""

KEPT = 2000
"""Checks for new content that are kept when the pending checks are replaced by a full scan: more than arrive with one batch of events."""

HURRIED = 1000
"""Checks that `hurry` brings forward, 5 us each."""

POSTPONED = 0.02
"""Seconds for which `between` postpones a check that a pending rename concerns."""


class WorkKind(enum.Enum):
    """Kind of work."""

    CHECK = "check"  # check `path` itself
    RENAME = "rename"  # `path` was renamed to `target`
    SCAN = "scan"  # scan everything below `path`


class Work(NamedTuple):
    """One unit of work.

    Attributes:
        kind: what to do.
        path: the path concerned.
        target: RENAME: the new path.
        force: CHECK: take a consistent snapshot even if the file is open for writing.
        unclosed: CHECK: no close event followed the last write; read the file only if the kernel confirms that it has no writer.
    """

    kind: WorkKind
    path: bytes
    target: bytes = b""
    force: bool = False
    unclosed: bool = False


class Debouncer:
    """Turns hints into work.

    Call `hint` for each hint, `ready` at `deadline`, and `busy` for each returned file that could not be read, before the next
    call of `ready` or `between`.

    Args:
        cooldown: initial seconds between two checks of a path.
        max_wait: seconds to wait for a file that stays open for writing, before it is read nevertheless.
        contents_delay: seconds between a change of a directory's names and its check.
        limit: number of pending paths above which they are replaced by one scan of the tree (100,000 take about 50 MB).
    """

    def __init__(
        self,
        *,
        cooldown: float,
        max_wait: float,
        contents_delay: float = 0.1,
        limit: int = 100_000,
    ) -> None:
        self._contents_delay = contents_delay
        self._limit = limit
        self._checks = CheckQueue(cooldown, max_wait)
        self._scans = CheckQueue(cooldown, max_wait)
        self._renames = Renames()
        self._collapsed = False
        self._scanning: list[float] = []

    def adjust(self, *, cooldown: float, max_wait: float) -> None:
        """Change the times; cooldowns that have begun keep their length."""
        for queue in (self._checks, self._scans):
            queue.cooldown, queue.max_wait = cooldown, max_wait

    def __len__(self) -> int:
        return self._checks.pending + self._scans.pending + len(self._renames)

    def is_pending(self, path: bytes) -> bool:
        """Return True if a check of exactly this path is pending."""
        return self._checks.is_pending(path)

    def concerns(self, path: bytes) -> bool:
        """Return True if a check, a scan or a rename that may concern a path is pending."""
        return (
            self._checks.is_pending(path)
            or any(self._scans.is_pending(each) for each in (path, *_above(path)))
            or self._renames.concern(path)
        )

    def is_renamed(self, path: bytes) -> bool:
        """Return True if a pending rename concerns a path."""
        return self._renames.concern(path)

    def unanswered(self, path: bytes, until: float) -> bytes | None:
        """Return a path for which work is pending because of a hint up to this time, at, above or below `path`; None if there is none."""
        checks = self._checks.unanswered(path, until)
        scans = self._scans.unanswered(path, until)
        above = (each for each in _above(path) if self._scans.is_pending(each))
        late = (each for each in above if self._scans.slot(each).unanswered_since <= until)
        renames = (path for _ in range(1) if self._renames.concern(path, until))
        return next(chain(checks, scans, late, renames), None)

    def answered_since(self, path: bytes, now: float, *, scan: bool = False) -> float:
        """Return the time of the first event that the last check or scan of a path has answered.

        Args:
            path: the path.
            now: the current time; returned if that event is unknown.
            scan: True for a scan.
        """
        since = (self._scans if scan else self._checks).answered_since(path)
        return since if -math.inf < since < math.inf else now

    def backdate(self, path: bytes, since: float) -> None:
        """Record that the pending checks and scans that concern a path also answer an event of a time."""
        self._checks.backdate(path, since)
        for each in (path, *_above(path)):
            self._scans.backdate(each, since)

    def hurry(self, path: bytes, until: float, now: float) -> None:
        """Check the paths at and below `path` without a cooldown, if a hint up to this time asked for it and no process writes them."""
        for one in list(islice(self._checks.unanswered(path, until), HURRIED)):
            if self._checks.slot(one).since is None:
                self._checks.check_now(one, now)

    def is_being_written(self, path: bytes) -> bool:
        """Return True if a check of a path is pending because a process may still write it."""
        return self._checks.is_pending(path) and self._checks.slot(path).since is not None

    def hint(self, hint: Hint, now: float, *, derived: bool = False) -> None:
        """Schedule the work that a hint asks for.

        Args:
            hint: the hint.
            now: the current time.
            derived: True if a check asks for another one: that is part of answering an earlier event, whenever it was.
        """
        unanswered_since = -math.inf if derived else now
        if self._renames:
            self._renames.returned(hint.path, now)
        if hint.kind is Hinted.WRITTEN:
            self._checks.written(hint.path, now)
        elif hint.kind is Hinted.CONTENTS:
            self._checks.changed(hint.path, now, now + self._contents_delay, low_priority=True)
        elif hint.kind is Hinted.TOUCHED:
            self._checks.changed(hint.path, now, now, low_priority=True)
        elif hint.kind is Hinted.SUBTREE:
            self._scan(hint.path, now, unanswered_since)
        elif hint.kind is Hinted.MOVED:
            self._renamed(hint, now)
        else:
            self._checks.changed(hint.path, now, now, unanswered_since=unanswered_since)
        if len(self) > self._limit:
            self._collapse(now)
        elif len(self._checks) > 2 * self._limit:
            self._checks.forget_history()

    def rescan(self, now: float) -> None:
        """Schedule a scan of everything, for which no event asked, so that nobody waits for it."""
        self._scan(ROOT, now, math.inf)

    def busy(self, path: bytes, now: float, *, scanned: bool = False) -> None:
        """Schedule another check of a file that could not be read: it is open for writing, or changed during the read.

        Args:
            path: the file.
            now: the current time.
            scanned: True if a scan found it: a scan answers earlier events of all paths below its directory, whenever they were.
        """
        self._checks.busy(path, now)
        if scanned:
            self._checks.slot(path).unanswered_since = -math.inf

    def deleted(self, path: bytes) -> None:
        """Record that a path was deleted: if it is created again, it is checked without a cooldown."""
        self._checks.deleted(path)

    def check_now(self, path: bytes, now: float) -> None:
        """Check a path again without a cooldown, after the pending rename to it, if there is one."""
        self._checks.check_now(path, now)

    def is_symlink(self, path: bytes) -> None:
        """Record that a path is a symlink: its cooldown is short, however often it changes."""
        self._checks.is_symlink(path)

    @property
    def last_content(self) -> int:
        """Number of the path with new content that became due last; see `has_content_of`."""
        return self._checks.last_content

    def has_content_of(self, number: int) -> bool:
        """Return True if a path with new content is still to be checked that became due when `last_content` was `number` or less."""
        return self._checks.has_content_of(number)

    def is_scan_awaited(self, until: float) -> bool:
        """Return True if a scan that an event up to a time asked for is pending or running, so that new content may not be known yet.

        A scan that replaces too many pending checks always counts. A scan that follows from a check never does, because it may be repeated
        for ever.
        """
        pending = (self._scans.slot(path).unanswered_since for path in self._scans.below(ROOT))
        return self._collapsed or any(
            -math.inf < since <= until for since in chain(self._scanning, pending)
        )

    def ready(self, now: float, limit: int | None = None) -> list[Work]:
        """Remove and return the work that is due, in the order in which it must be done.

        Renames come first, in the order in which they happened, because a rename changes what is recorded under the names that are
        checked; then checks; then scans. Paths at or below the new name of a directory wait for its rename.

        Args:
            now: the current time.
            limit: maximum number of checks; `core.backlog` says which ones if more are due.
        """
        self._collapsed = self._collapsed and self._scans.is_pending(ROOT)  # otherwise it is done
        work = [Work(WorkKind.RENAME, *ends) for ends in self._renames.take(now)]
        not_before = self._renames.not_before
        work += self._take_checks(now, not_before, limit)
        scans = self._scans.take_due(now, not_before)
        self._scanning = [self._scans.answered_since(due.path) for due in scans]
        return work + [Work(WorkKind.SCAN, due.path) for due in scans]

    def between(self, now: float, limit: int) -> list[Work]:
        """Remove and return due checks that no pending rename concerns, to be done in the middle of other work.

        Paths that the last call of `ready` or `between` returned count as read from here on.

        Args:
            now: the current time.
            limit: maximum number of checks.
        """
        if len(self._renames) > MANY:
            return []

        def not_before(path: bytes) -> float:
            return now + POSTPONED if self._renames.concern(path) else 0.0

        return self._take_checks(now, not_before, limit)

    def _take_checks(
        self, now: float, not_before: Callable[[bytes], float], limit: int | None
    ) -> list[Work]:
        due = self._checks.take_due(now, not_before, limit)
        return [Work(WorkKind.CHECK, path, b"", force, unclosed) for path, force, unclosed in due]

    def deadline(self) -> float | None:
        """Return the time at which to call `ready` next; None if nothing is pending."""
        dues = (self._renames.next_due(), self._checks.next_due(), self._scans.next_due())
        earliest = min(due for due in dues if due is not None)
        return earliest if earliest < math.inf else None

    def _scan(self, path: bytes, now: float, unanswered_since: float) -> None:
        for above in _above(path):
            if self._scans.is_pending(above):
                slot = self._scans.slot(above)
                slot.unanswered_since = min(slot.unanswered_since, unanswered_since)
                return
        for covered in list(self._scans.below(path)):
            unanswered_since = min(unanswered_since, self._scans.slot(covered).unanswered_since)
            if covered != path:
                self._scans.cancel(covered)
        self._scans.changed(path, now, now, unanswered_since=unanswered_since)

    def _renamed(self, hint: Hint, now: float) -> None:
        source, target = hint.path, hint.target
        scans = [above for above in _above(source) if self._scans.is_pending(above)]
        since = min((self._scans.slot(above).unanswered_since for above in scans), default=now)
        for queue in (self._checks, self._scans):
            queue.rename(source, target)
        if scans:  # the pending scan of the old parent will not find the path any more
            self._scan(target, now, since)
        self._renames.add(source, target, now, is_directory=hint.is_directory)
        for path in (source, target):  # another file may have the name `source` now
            self._checks.changed(path, now, now)

    def clear(self) -> None:
        """Forget all pending work; the caller scans the whole tree. The numbers of `last_content` continue."""
        self._restart(self.last_content)
        self._collapsed = False
        self._scanning.clear()

    def _restart(self, last_content: int) -> None:
        cooldown, max_wait = self._checks.cooldown, self._checks.max_wait
        self._checks = CheckQueue(cooldown, max_wait, last_content)
        self._scans = CheckQueue(cooldown, max_wait)
        self._renames = Renames()

    def _collapse(self, now: float) -> None:
        """Replace the pending work by a full scan; keep the newest checks for new content, which the scan would reach late."""
        kept = self._checks.newest(min(KEPT, self._limit // 2))
        # What is kept gets numbers again: not above those that callers of `last_content` remember.
        self._restart(max(0, self.last_content - len(kept)))
        self._scan(ROOT, now, -math.inf)
        self._collapsed = True
        for path, old in kept:
            self._checks.slot(path).retry = old.retry
            self._checks.want(path, old.due or now, now=now)


def _above(path: bytes) -> list[bytes]:
    """Return the parent directories of a path, the root first."""
    above = []
    while path:
        path = parent(path)
        above.append(path)
    return above[::-1]
