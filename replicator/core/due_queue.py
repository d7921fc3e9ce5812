"""A timer queue of paths.

A slot holds the time at which a path is due, and after the path was returned, its history, so that the cooldown can be kept.
Every operation costs O(log n) or less: due times and the expiry of history are heaps whose stale entries are skipped when they are
popped; the due paths below a directory are found through an index of children.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator
from itertools import islice

from replicator.core.backlog import Backlog
from replicator.core.path_set import PathIndex

AT_ONCE = 500
"""Heap entries processed at least in one call with a limit: 5 us each, during which the event loop is blocked."""


class Slot:
    """Due time and history of one path.

    Attributes:
        due: time at which the path is due; None if it is not scheduled.
        queued: time of its valid heap entry; infinite if there is none, minus infinity while it is in the backlog.
        since: time of the first write event since the file was last read completely; None if there was none.
        tries: failed reads in a row.
        unclosed: True after a write event that no close event has followed.
        has_new_event: True after an event since the path was last returned.
        returned_at: time at which the path was last returned; minus infinity if the cooldown does not apply.
        cooldown: minimum seconds between two returns.
        low_priority: True if no event suggests new content (attributes, deletions, directories).
        unanswered_since: time of the first event that no check has answered; infinite if there is none.
        unanswered_if_failed: `unanswered_since` of the check that was returned last: if that check fails, its events are still
            unanswered.
    """

    __slots__ = (
        "cooldown", "due", "has_new_event", "low_priority", "queued", "returned_at", "since", "tries", "unanswered_if_failed",
        "unanswered_since", "unclosed",
    )  # fmt: skip

    def __init__(self, cooldown: float) -> None:
        self.due: float | None = None
        self.queued = math.inf
        self.since: float | None = None
        self.tries = 0
        self.unclosed = False
        self.has_new_event = False
        self.low_priority = False
        self.returned_at = -math.inf
        self.cooldown = cooldown
        self.unanswered_since = self.unanswered_if_failed = math.inf

    @property
    def cooldown_ends(self) -> float:
        """Time at which the cooldown ends."""
        return self.returned_at + self.cooldown

    @property
    def retry(self) -> tuple[float | None, int, bool, bool, float]:
        """What is known of the writes and reads of the file; it follows a rename, unlike the cooldown."""
        return self.since, self.tries, self.has_new_event, self.unclosed, self.unanswered_since

    @retry.setter
    def retry(self, state: tuple[float | None, int, bool, bool, float]) -> None:
        self.since, self.tries, self.has_new_event, self.unclosed, self.unanswered_since = state

    @property
    def quiet_from(self) -> float:
        """Time at which the path counts as quiet: its history expires, and its cooldown is reset."""
        return self.returned_at + 2 * self.cooldown


class DueQueue:
    """Slots by path. Times are seconds of a monotonic clock.

    Args:
        cooldown: initial cooldown of a slot, in seconds.
        last_content: initial value of the property.

    Attributes:
        pending: number of scheduled paths.
    """

    SLACK = 4
    """Heap entries per scheduled path before stale ones are removed: a path that is repeatedly written and closed leaves two."""

    def __init__(self, cooldown: float, last_content: int = 0) -> None:
        self.pending = 0
        self.cooldown = cooldown
        self._slots: dict[bytes, Slot] = {}
        self._dues: list[tuple[float, bytes]] = []
        self._fading: list[tuple[float, bytes]] = []
        self._index = PathIndex(self.is_pending)
        self._backlog = Backlog(last_content)
        self._due_at = 0.0

    def __len__(self) -> int:
        return len(self._slots)

    def get(self, path: bytes) -> Slot | None:
        """Return the slot of a path, if it has one."""
        return self._slots.get(path)

    def slot(self, path: bytes) -> Slot:
        """Return the slot of a path; create it if there is none."""
        slot = self._slots.get(path)
        if slot is None:
            slot = self._slots[path] = Slot(self.cooldown)
        return slot

    def is_pending(self, path: bytes) -> bool:
        """Return True if the path is scheduled."""
        slot = self._slots.get(path)
        return slot is not None and slot.due is not None

    def want(
        self, path: bytes, due: float, *, now: float = -math.inf, low_priority: bool = False
    ) -> None:
        """Schedule a path for `due`, replacing its earlier due time.

        Args:
            path: the path.
            due: the new due time.
            now: the current time. A path that is due already enters the backlog at once, before heap entries that are due later.
            low_priority: no new content is expected; while the backlog is long, paths with new content go first.
        """
        self._want(path, self.slot(path), due, now, low_priority=low_priority)

    def _want(self, path: bytes, slot: Slot, due: float, now: float, *, low_priority: bool) -> None:
        if slot.due is None:
            self.pending += 1
            self._index.add(path)
            slot.low_priority = low_priority
        elif slot.low_priority and not low_priority:
            slot.low_priority = False
            if slot.queued == -math.inf:
                self._backlog.add(path, low_priority=False)
        slot.due = due
        if due >= slot.queued:
            return
        if due <= now:
            self._put_in_backlog(path, slot, due)
        else:
            self._queue(path, slot)

    def want_by(
        self, path: bytes, due: float, *, now: float = -math.inf, low_priority: bool = False
    ) -> None:
        """Schedule a path for `due`, unless it is already scheduled for an earlier time."""
        slot = self.slot(path)
        earliest = due if slot.due is None else min(slot.due, due)
        self._want(path, slot, earliest, now, low_priority=low_priority)

    def cancel(self, path: bytes) -> None:
        """Unschedule a path; its history is kept until it expires."""
        slot = self._slots.get(path)
        if slot is None or slot.due is None:
            return
        slot.due = None
        slot.unanswered_since = math.inf
        if slot.queued == -math.inf:
            self._backlog.remove(path)
        slot.queued = math.inf
        self.pending -= 1
        self._index.discard(path)
        if slot.returned_at == -math.inf:
            del self._slots[path]
        else:
            heapq.heappush(self._fading, (slot.quiet_from, path))

    def below(self, path: bytes) -> Iterator[bytes]:
        """Yield the scheduled paths at and below `path`; the queue must not be changed during the iteration."""
        return self._index.at_or_below(path)

    def take(
        self,
        now: float,
        not_before: Callable[[bytes], float] = lambda _: 0.0,
        *,
        limit: int | None = None,
    ) -> Iterator[tuple[bytes, Slot]]:
        """Yield due paths with their slots, and unschedule them.

        The caller must exhaust the iterator, and set `returned_at` in each slot before it takes the next.

        Args:
            now: the current time.
            not_before: returns the time before which a path is not taken although it is due; 0.0 if there is none.
            limit: maximum number of paths, in the order of `core.backlog`; None: all, earliest first.
        """
        self._become_due(now, None if limit is None else max(limit, AT_ONCE))
        for path in self._backlog.take(limit):
            slot = self._slots[path]
            slot.queued = math.inf
            assert slot.due is not None  # or it would have been removed from the backlog
            slot.due = max(slot.due, not_before(path))
            if slot.due > now:  # it was put off after it had been queued
                self._queue(path, slot)
                continue
            yield path, slot
            self.cancel(path)
        self._fade(now, limit)

    def _become_due(self, now: float, limit: int | None) -> None:
        """Move due paths from the heap to the backlog."""
        while self._dues and self._dues[0][0] <= now and limit != 0:
            queued, path = heapq.heappop(self._dues)
            slot = self._slots.get(path)
            if slot is None or slot.due is None or slot.queued != queued:
                continue
            self._put_in_backlog(path, slot, queued)
            limit = limit and limit - 1

    def _put_in_backlog(self, path: bytes, slot: Slot, due: float) -> None:
        if not self._backlog:
            self._due_at = due
        slot.queued = -math.inf
        self._backlog.add(path, low_priority=slot.low_priority)

    @property
    def last_content(self) -> int:
        """Number of the path with new content that became due last."""
        return self._backlog.last

    def has_content_of(self, number: int) -> bool:
        """Return True if a path with new content is still to be taken that became due when `last_content` was `number` or less."""
        return self._backlog.has_content_of(number)

    def next_due(self) -> float | None:
        """Return the time at which the next path is due; None if none is scheduled. It may be too early, never too late."""
        if self._backlog:
            return self._due_at
        while self._dues:
            queued, path = self._dues[0]
            slot = self._slots.get(path)
            if slot is not None and slot.due is not None and slot.queued == queued:
                return queued
            heapq.heappop(self._dues)
        return None

    def newest(self, limit: int) -> list[tuple[bytes, Slot]]:
        """Return at most `limit` scheduled paths without `low_priority`: those whose slots were created last, the oldest first."""
        wanted = (
            (path, slot)
            for path, slot in reversed(self._slots.items())
            if slot.due is not None and not slot.low_priority
        )
        return list(islice(wanted, limit))[::-1]

    def forget_history(self) -> None:
        """Remove the slots of paths that are not scheduled."""
        self._slots = {p: s for p, s in self._slots.items() if s.due is not None}
        self._fading.clear()

    def _fade(self, now: float, limit: int | None) -> None:
        left = None if limit is None else max(limit, AT_ONCE)
        while self._fading and self._fading[0][0] <= now and left != 0:
            left = left and left - 1
            path = heapq.heappop(self._fading)[1]
            slot = self._slots.get(path)
            if slot is not None and slot.due is None and slot.quiet_from <= now:
                del self._slots[path]

    def _queue(self, path: bytes, slot: Slot) -> None:
        assert slot.due is not None  # what callers have just set
        slot.queued = slot.due
        heapq.heappush(self._dues, (slot.due, path))
        if len(self._dues) > self.SLACK * (self.pending + 256):
            wanted = ((p, s) for p, s in self._slots.items() if s.due is not None)
            self._dues = [(s.queued, p) for p, s in wanted if math.isfinite(s.queued)]
            heapq.heapify(self._dues)
