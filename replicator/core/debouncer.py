"""Debouncer: decides when to check the paths that hints name.

The first change of a quiet path is checked at once. After a check, a path is not checked again before its cooldown ends, which doubles
while the path keeps changing. A file that is being written is checked after it is closed, or after `max_wait` seconds; a directory
whose names change, a little later. A rename takes the pending checks below its old name along, because hints are about names.
Waiting loses nothing: a check reads the state at the time of the check, not at the time of the hint.

Times are seconds of a monotonic clock, passed in by the caller.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from typing import NamedTuple

from replicator.core.due_queue import DueQueue, Slot
from replicator.core.renames import Renames
from replicator.model import ROOT, Hint, Hinted, parent, rebase

UNCLOSED = 0.05
"""Seconds after a write without a close, at which the kernel is asked whether a process has the file open for writing."""

SYMLINK_REST = 0.1
"""Cooldown of a symlink in seconds. A symlink must be sent before its former target counts as deleted (0.5 s, see `core.absences`);
a check of a symlink reads no content."""

LONGEST = 16
"""Largest factor by which a cooldown grows."""


MANY = 50
"""Pending renames above which `between` returns nothing: testing each check against each rename takes 1 us per pair."""

KEPT = 2000
"""Checks for new content that are kept when the pending checks are replaced by a full scan: more than arrive with one batch of events."""

HELD = 0.02
"""Seconds for which `between` postpones a check that a pending rename concerns."""


class WorkKind(enum.Enum):
    """Kind of work."""

    EXAMINE = "examine"  # check `path` itself
    MOVE = "move"  # `path` was renamed to `target`
    WALK = "walk"  # scan everything below `path`


class Work(NamedTuple):
    """One unit of work.

    Attributes:
        kind: what to do.
        path: the path concerned.
        target: MOVE: the new path.
        force: EXAMINE: take a consistent snapshot even if the file is open for writing.
        unclosed: EXAMINE: no close event followed the last write; read the file only if the kernel confirms that it has no writer.
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
        self._cooldown = cooldown
        self._max_wait = max_wait
        self._contents_delay = contents_delay
        self._limit = limit
        self._looks = DueQueue(cooldown)
        self._walks = DueQueue(cooldown)
        self._renames = Renames()
        self._out: list[bytes] = []

    def adjust(self, *, cooldown: float, max_wait: float) -> None:
        """Change the times; cooldowns that have begun keep their length."""
        self._cooldown = self._looks.cooldown = self._walks.cooldown = cooldown
        self._max_wait = max_wait

    def __len__(self) -> int:
        return self._looks.pending + self._walks.pending + len(self._renames)

    def is_pending(self, path: bytes) -> bool:
        """Return True if a check of exactly this path is pending."""
        return self._looks.is_pending(path)

    def concerns(self, path: bytes) -> bool:
        """Return True if a check, a scan or a rename that may concern a path is pending."""
        return (
            self._looks.is_pending(path)
            or any(self._walks.is_pending(each) for each in (path, *_above(path)))
            or self._renames.concern(path)
        )

    def hint(self, hint: Hint, now: float) -> None:
        """Schedule the work that a hint asks for."""
        self._renames.returned(hint.path, now)
        if hint.kind is Hinted.WRITTEN:
            self._written(hint.path, now)
        elif hint.kind is Hinted.CONTENTS:
            due = now + self._contents_delay
            self._touch(self._looks, hint.path, now, due, minor=True)
        elif hint.kind is Hinted.TOUCHED:
            self._touch(self._looks, hint.path, now, now, minor=True)
        elif hint.kind is Hinted.SUBTREE:
            self._walk(hint.path, now)
        elif hint.kind is Hinted.MOVED:
            self._moved(hint, now)
        else:
            self._touch(self._looks, hint.path, now, now)
        if len(self) > self._limit:
            self._collapse(now)
        elif len(self._looks) > 2 * self._limit:
            self._looks.forget_history()

    def busy(self, path: bytes, now: float) -> None:
        """Record that a file could not be read: it is open for writing, or changed during the read.

        The file is checked again after its close, after delays that double, and with `force` once it has been written for
        `max_wait` seconds. The first failed check starts no cooldown, so that a close is followed by a check at once.
        """
        slot = self._looks.slot(path)
        if slot.tries == 0:
            slot.handed = -math.inf
        if slot.since is None:
            slot.since = now
        delay = self._delay(slot)
        slot.tries += 1
        self._looks.want_by(path, min(now + delay, max(now, slot.since + self._max_wait)))

    def _delay(self, slot: Slot) -> float:
        return float(self._cooldown * 2 ** min(slot.tries, LONGEST))

    def ready(self, now: float, limit: int | None = None) -> list[Work]:
        """Remove and return the work that is due, in the order in which it must be done.

        Renames come first, in the order in which they happened, because a rename changes what is recorded under the names that are
        checked; then checks; then scans. Paths at or below the new name of a directory wait for its rename.

        Args:
            now: the current time.
            limit: maximum number of checks; `core.backlog` says which ones if more are due.
        """
        self._believe_read()
        work = [Work(WorkKind.MOVE, *ends) for ends in self._renames.take(now)]
        held = self._renames.holds
        work += self._take_looks(now, held, limit)
        for path, slot in self._walks.take(now, held):
            self._spend(slot, now)
            work.append(Work(WorkKind.WALK, path))
        return work

    def between(self, now: float, limit: int) -> list[Work]:
        """Remove and return due checks that no pending rename concerns, to be done in the middle of other work.

        Paths that the last call of `ready` or `between` returned count as read from here on.

        Args:
            now: the current time.
            limit: maximum number of checks.
        """
        if len(self._renames) > MANY:
            return []
        self._believe_read()

        def held(path: bytes) -> float:
            return now + HELD if self._renames.concern(path) else 0.0

        return self._take_looks(now, held, limit)

    def deadline(self) -> float | None:
        """Return the time at which to call `ready` next; None if nothing is pending."""
        dues = (self._renames.next_due(), self._looks.next_due(), self._walks.next_due())
        earliest = min(due for due in dues if due is not None)
        return earliest if earliest < math.inf else None

    def _touch(
        self, queue: DueQueue, path: bytes, now: float, due: float, *, minor: bool = False
    ) -> None:
        slot = queue.slot(path)
        if slot.due is None and now >= slot.faded:
            slot.handed = -math.inf
            slot.cooldown = self._cooldown
        slot.fresh = True
        slot.unclosed = False
        queue.want_by(path, max(due, slot.rested), now=now, minor=minor)

    def _written(self, path: bytes, now: float) -> None:
        """Postpone the check of a file that is being written, even if it was due sooner: it would be read half written.

        The check after UNCLOSED seconds asks the kernel for a writer, because some files are complete without a close event (linkat
        of an O_TMPFILE file, truncate(2)). While there is a writer, `busy` schedules the next check.
        """
        slot = self._looks.slot(path)
        if slot.since is None:
            slot.since = now
        slot.unclosed = True
        if slot.tries == 0 or slot.due is None:
            due = now + UNCLOSED if slot.tries == 0 else now + self._delay(slot)
            self._looks.want(path, max(min(due, slot.since + self._max_wait), slot.rested))

    def _walk(self, path: bytes, now: float) -> None:
        if any(self._walks.is_pending(above) for above in _above(path)):
            return
        for covered in list(self._walks.below(path)):
            if covered != path:
                self._walks.cancel(covered)
        self._touch(self._walks, path, now, now)

    def _moved(self, hint: Hint, now: float) -> None:
        source, target = hint.path, hint.target
        walk_is_owed = any(self._walks.is_pending(above) for above in _above(source))
        for queue in (self._looks, self._walks):
            _rename(queue, source, target)
        if walk_is_owed:  # the pending scan of the old parent will not find the path any more
            self._walk(target, now)
        self._renames.add(source, target, now, is_directory=hint.is_directory)
        for path in (source, target):  # another file may have the name `source` now
            self._touch(self._looks, path, now, now)

    def gone(self, path: bytes) -> None:
        """Record that a path was deleted: if it is created again, it is checked without a cooldown."""
        slot = self._looks.get(path)
        if slot is not None:
            slot.handed = -math.inf
            slot.cooldown = self._cooldown

    def again(self, path: bytes, now: float) -> None:
        """Check a path again without a cooldown, after the pending rename to it, if there is one."""
        self._looks.slot(path).handed = -math.inf
        self._looks.want_by(path, now, now=now)

    def is_renamed(self, path: bytes) -> bool:
        """Return True if a pending rename concerns a path."""
        return self._renames.concern(path)

    def is_symlink(self, path: bytes) -> None:
        """Record that a path is a symlink: its cooldown is at most SYMLINK_REST, however often it changes."""
        slot = self._looks.get(path)
        if slot is not None:
            slot.cooldown = min(self._cooldown, SYMLINK_REST)
            if slot.due is not None:
                self._looks.want_by(path, slot.rested)

    def clear(self) -> None:
        """Forget all pending work; the caller scans the whole tree."""
        self._looks = DueQueue(self._cooldown)
        self._walks = DueQueue(self._cooldown)
        self._renames = Renames()
        self._out = []

    def _collapse(self, now: float) -> None:
        """Replace the pending work by a full scan; keep the newest checks for new content, which the scan would reach late."""
        kept = self._looks.newest(min(KEPT, self._limit // 2))
        self.clear()
        self._walk(ROOT, now)
        for path, old in kept:
            slot = self._looks.slot(path)
            slot.since, slot.tries, slot.fresh, slot.unclosed = (
                old.since, old.tries, old.fresh, old.unclosed
            )  # fmt: skip
            self._looks.want(path, old.due or now, now=now)

    def _take_looks(
        self, now: float, held: Callable[[bytes], float], limit: int | None
    ) -> list[Work]:
        """Remove and return at most `limit` due checks."""
        due = self._looks.take(now, held, limit=limit)
        looks = [self._hand_out(path, slot, now) for path, slot in due]
        self._out = [look.path for look in looks]
        return looks

    def _hand_out(self, path: bytes, slot: Slot, now: float) -> Work:
        force = slot.since is not None and now >= slot.since + self._max_wait
        if force:
            slot.since = None
        self._spend(slot, now)
        return Work(WorkKind.EXAMINE, path, force=force, unclosed=slot.unclosed)

    def _spend(self, slot: Slot, now: float) -> None:
        if slot.fresh and slot.handed > -math.inf:
            slot.cooldown = min(2 * slot.cooldown, LONGEST * self._cooldown)
        slot.handed = now
        slot.fresh = False

    def _believe_read(self) -> None:
        """Reset the retry state of the paths that were returned last and not reported busy: they were read successfully."""
        for path in self._out:
            slot = self._looks.get(path)
            if slot is not None and slot.due is None:
                slot.since = None
                slot.tries = 0
                slot.unclosed = False


def _above(path: bytes) -> list[bytes]:
    """Return the parent directories of a path, the root first."""
    above = []
    while path:
        path = parent(path)
        above.append(path)
    return above[::-1]


def _rename(queue: DueQueue, source: bytes, target: bytes) -> None:
    """Move the scheduled paths at and below `source` to `target`; those that were at and below `target` are cancelled.

    The cooldown stays with the name: an editor that saves by renaming changes the same file again and again.
    """
    taken = []
    for path in list(queue.below(source)):
        slot = queue.slot(path)
        kept = (slot.since, slot.tries, slot.fresh, slot.unclosed)
        taken.append((rebase(path, source, target), slot.due, kept))
        slot.since = None
        queue.cancel(path)
    for path in list(queue.below(target)):
        queue.slot(path).since = None
        queue.cancel(path)
    for path, due, kept in taken:
        slot = queue.slot(path)
        slot.since, slot.tries, slot.fresh, slot.unclosed = kept
        queue.want(path, max(due or 0.0, slot.rested))
