"""When a path is checked: cooldowns, files that are open for writing, retries.

The first change of a quiet path is checked at once. After a check, the path is not checked again before its cooldown ends, which
doubles while the path keeps changing. A file that is being written is read after it is closed, or after `max_wait` seconds; meanwhile
each check asks the kernel whether a process has it open for writing.

Times are seconds of a monotonic clock, passed in by the caller.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

from replicator.core.due_queue import DueQueue, Slot
from replicator.model import rebase

UNCLOSED = 0.05
"""Seconds after a write without a close, at which the kernel is asked whether a process has the file open for writing."""

SYMLINK_COOLDOWN = 0.1
"""Cooldown of a symlink in seconds. A symlink must be sent before its former target counts as deleted (0.5 s, see `core.rechecks`);
a check of a symlink reads no content."""

LONGEST = 16
"""Largest factor by which a cooldown grows."""


class Due(NamedTuple):
    """A path whose check is due.

    Attributes:
        path: the path.
        force: take a consistent snapshot even if the file is open for writing.
        unclosed: no close event followed the last write.
    """

    path: bytes
    force: bool
    unclosed: bool


class CheckQueue(DueQueue):
    """Paths to check, each with its cooldown.

    Args:
        cooldown: initial seconds between two checks of a path.
        max_wait: seconds to wait for a file that stays open for writing, before it is read nevertheless.
        last_content: initial value of the property.
    """

    def __init__(self, cooldown: float, max_wait: float, last_content: int = 0) -> None:
        super().__init__(cooldown, last_content)
        self.max_wait = max_wait
        self._returned: list[bytes] = []

    def changed(
        self,
        path: bytes,
        now: float,
        due: float,
        *,
        low_priority: bool = False,
        unanswered_since: float | None = None,
    ) -> None:
        """Schedule a check after an event: at `due`, or after the cooldown if that is later.

        Args:
            path: the path.
            now: the current time.
            due: earliest time of the check.
            low_priority: the event does not suggest new content.
            unanswered_since: the time of the event; default: `now`.
        """
        slot = self.slot(path)
        if slot.due is None and now >= slot.quiet_from:
            slot.returned_at = -math.inf
            slot.cooldown = self.cooldown
        slot.has_new_event = True
        slot.unclosed = False
        slot.unanswered_since = min(
            slot.unanswered_since, now if unanswered_since is None else unanswered_since
        )
        self.want_by(path, max(due, slot.cooldown_ends), now=now, low_priority=low_priority)

    def written(self, path: bytes, now: float) -> None:
        """Postpone the check of a file that is being written, even if it was due sooner: it would be read half written.

        The check after UNCLOSED seconds asks the kernel for a writer, because some files are complete without a close event (linkat
        of an O_TMPFILE file, truncate(2)). While there is a writer, `busy` schedules the next check.
        """
        slot = self.slot(path)
        if slot.since is None:
            slot.since = now
        slot.unclosed = True
        slot.unanswered_since = min(slot.unanswered_since, now)
        if slot.tries == 0 or slot.due is None:
            due = now + UNCLOSED if slot.tries == 0 else now + self._delay(slot)
            self.want(path, max(min(due, slot.since + self.max_wait), slot.cooldown_ends))

    def busy(self, path: bytes, now: float) -> None:
        """Schedule another check of a file that could not be read: it is open for writing, or changed during the read.

        The delay doubles with each attempt; `max_wait` seconds after the first write the file is read with `force`. The first failed
        check starts no cooldown, so that a close is followed by a check at once.
        """
        slot = self.slot(path)
        if slot.tries == 0:
            slot.returned_at = -math.inf
        if slot.since is None:
            slot.since = now
        slot.unanswered_since = min(slot.unanswered_since, slot.unanswered_if_failed, now)
        delay = self._delay(slot)
        slot.tries += 1
        self.want_by(path, min(now + delay, max(now, slot.since + self.max_wait)))

    def _delay(self, slot: Slot) -> float:
        """Return the seconds until the next try. `max_wait` bounds it; the bound here only keeps the number finite."""
        return float(self.cooldown * 2 ** min(slot.tries, 16))

    def deleted(self, path: bytes) -> None:
        """Reset the cooldown of a path that was deleted: if it is created again, it is checked at once."""
        slot = self.get(path)
        if slot is not None:
            slot.returned_at = -math.inf
            slot.cooldown = self.cooldown

    def check_now(self, path: bytes, now: float) -> None:
        """Schedule a check for now, without a cooldown."""
        slot = self.slot(path)
        slot.returned_at = -math.inf
        slot.unanswered_since = min(slot.unanswered_since, slot.unanswered_if_failed, now)
        self.want_by(path, now, now=now)

    def is_symlink(self, path: bytes) -> None:
        """Limit the cooldown of a symlink to SYMLINK_COOLDOWN, however often it changes."""
        slot = self.get(path)
        if slot is not None:
            slot.cooldown = min(self.cooldown, SYMLINK_COOLDOWN)
            if slot.due is not None:
                self.want_by(path, slot.cooldown_ends)

    def take_due(
        self, now: float, not_before: Callable[[bytes], float], limit: int | None = None
    ) -> list[Due]:
        """Remove and return due paths; see `DueQueue.take`. The paths that the last call returned count as read from here on."""
        self._reset_read()
        due = []
        for path, slot in self.take(now, not_before, limit=limit):
            force = slot.since is not None and now >= slot.since + self.max_wait
            if force:
                slot.since = None
            if slot.has_new_event and slot.returned_at > -math.inf:
                slot.cooldown = min(2 * slot.cooldown, LONGEST * self.cooldown)
            slot.returned_at = now
            slot.has_new_event = False
            slot.unanswered_if_failed = slot.unanswered_since
            due.append(Due(path, force, slot.unclosed))
        self._returned = [one.path for one in due]
        return due

    def _reset_read(self) -> None:
        """Reset the retry state of the paths that were returned last and not reported busy: they were read successfully."""
        for path in self._returned:
            slot = self.get(path)
            if slot is not None and slot.due is None:
                slot.since = None
                slot.tries = 0
                slot.unclosed = False

    def unanswered(self, path: bytes, until: float) -> Iterator[bytes]:
        """Yield the scheduled paths at and below `path` of which an event until this time has not been answered by a check."""
        return (one for one in self.below(path) if self.slot(one).unanswered_since <= until)

    def answered_since(self, path: bytes) -> float:
        """Return the time of the first event that the last check of a path has answered; infinite if that is unknown."""
        slot = self.get(path)
        return slot.unanswered_if_failed if slot is not None else math.inf

    def backdate(self, path: bytes, since: float) -> None:
        """Record that the pending check of a path, if there is one, also answers an event at the time `since`, so that `wait` waits for it."""
        if self.is_pending(path):
            slot = self.slot(path)
            slot.unanswered_since = min(slot.unanswered_since, since)

    def rename(self, source: bytes, target: bytes) -> None:
        """Move the scheduled paths at and below `source` to `target`; those that were at and below `target` are cancelled.

        The cooldown stays with the name: an editor that saves by renaming changes the same file again and again.
        """
        taken = []
        for path in list(self.below(source)):
            slot = self.slot(path)
            taken.append((rebase(path, source, target), slot.due, slot.retry))
            slot.since = None
            self.cancel(path)
        for path in list(self.below(target)):
            self.slot(path).since = None
            self.cancel(path)
        for path, due, retry in taken:
            slot = self.slot(path)
            slot.retry = retry
            self.want(path, max(due or 0.0, slot.cooldown_ends))
