"""What is wanted when, by path.

A slot holds when a path is wanted next, and what is remembered of it after it was handed out (so that it is not handed out
again at once). Everything costs O(log n) or less: dues and fading memories are heaps whose stale entries are skipped when
they surface, and what is wanted below a directory is found through an index of children, not by a scan.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator
from itertools import islice

from replicator.core.backlog import Backlog
from replicator.model import parent

AT_ONCE = 500
"""Entries of a heap that are dealt with in one call which has a limit: 5 us each, and the loop does nothing else meanwhile."""


class Slot:
    """One path.

    Attributes:
        due: when it is wanted, in seconds; None when it is not.
        queued: the time of its live entry in the heap; infinite when there is none, minus infinity in the backlog.
        since: when it was first seen being written, and not handed out whole since; None when it is not.
        tries: how often reading it failed in a row.
        unclosed: it was written, and no event since says that it was closed.
        fresh: something happened to it since it was handed out.
        handed: when it was last handed out; minus infinity when that is long ago.
        cooldown: seconds from one handing out to the next.
        minor: it is wanted for no new content, as far as is known.
    """

    __slots__ = (
        "cooldown", "due", "fresh", "handed", "minor", "queued", "since", "tries", "unclosed"
    )  # fmt: skip

    def __init__(self, cooldown: float) -> None:
        self.due: float | None = None
        self.queued = math.inf
        self.since: float | None = None
        self.tries = 0
        self.unclosed = False
        self.fresh = False
        self.minor = False
        self.handed = -math.inf
        self.cooldown = cooldown

    @property
    def rested(self) -> float:
        """When the path may be handed out again, in seconds."""
        return self.handed + self.cooldown

    @property
    def faded(self) -> float:
        """When the path counts as quiet, and its cooldown starts small again, in seconds."""
        return self.handed + 2 * self.cooldown


class Agenda:
    """Slots by path.

    Args:
        cooldown: what a new slot's cooldown is, in seconds.
    """

    SLACK = 4
    """Heap entries per slot before the stale ones are cleared out: a path that is written and closed in turns leaves two."""

    def __init__(self, cooldown: float) -> None:
        self.pending = 0
        self.cooldown = cooldown
        self._slots: dict[bytes, Slot] = {}
        self._dues: list[tuple[float, bytes]] = []
        self._fading: list[tuple[float, bytes]] = []
        self._children: dict[bytes, set[bytes]] = {}
        self._backlog = Backlog()
        self._due_at = 0.0

    def __len__(self) -> int:
        return len(self._slots)

    def get(self, path: bytes) -> Slot | None:
        """Return the slot of a path, if it has one."""
        return self._slots.get(path)

    def slot(self, path: bytes) -> Slot:
        """Return the slot of a path, a new one if it has none."""
        slot = self._slots.get(path)
        if slot is None:
            slot = self._slots[path] = Slot(self.cooldown)
        return slot

    def is_pending(self, path: bytes) -> bool:
        """Return True if the path is wanted."""
        slot = self._slots.get(path)
        return slot is not None and slot.due is not None

    def want(self, path: bytes, due: float, *, now: float = -math.inf, minor: bool = False) -> None:
        """Want a path at `due`, instead of whenever it was wanted before.

        Args:
            path: what is wanted.
            due: when, in seconds.
            now: the time; what is due already waits in the backlog at once, behind nothing that was queued before.
            minor: not for new content; where much is due, it may wait for that.
        """
        slot = self.slot(path)
        if slot.due is None:
            self.pending += 1
            self._link(path)
            slot.minor = minor
        elif slot.minor and not minor:
            slot.minor = False
            if slot.queued == -math.inf:
                self._backlog.add(path, minor=False)
        slot.due = due
        if due >= slot.queued:
            return
        if due <= now:
            self._put_in_backlog(path, slot, due)
        else:
            self._queue(path, slot)

    def want_by(
        self, path: bytes, due: float, *, now: float = -math.inf, minor: bool = False
    ) -> None:
        """Want a path at `due`, or earlier if it was wanted earlier already."""
        slot = self.slot(path)
        self.want(path, due if slot.due is None else min(slot.due, due), now=now, minor=minor)

    def cancel(self, path: bytes) -> None:
        """Want a path no more; its history is kept while it is of use."""
        slot = self._slots.get(path)
        if slot is None or slot.due is None:
            return
        slot.due = None
        if slot.queued == -math.inf:
            self._backlog.remove(path)
        slot.queued = math.inf
        self.pending -= 1
        self._unlink(path)
        if slot.handed == -math.inf:
            del self._slots[path]
        else:
            heapq.heappush(self._fading, (slot.faded, path))

    def below(self, path: bytes) -> Iterator[bytes]:
        """Yield the wanted paths at and below `path`; nothing may be changed meanwhile."""
        stack = [path]
        while stack:
            at = stack.pop()
            if self.is_pending(at):
                yield at
            stack.extend(self._children.get(at, ()))

    def take(
        self,
        now: float,
        held: Callable[[bytes], float] = lambda _: 0.0,
        *,
        limit: int | None = None,
    ) -> Iterator[tuple[bytes, Slot]]:
        """Yield what is due, and want it no more. The caller notes in the slot that it was handed out, and takes all.

        Args:
            now: the time.
            held: returns until when a path must wait all the same; 0.0 if it need not.
            limit: at most so many, in the order of the backlog; None: all, earliest first.
        """
        self._become_due(now, None if limit is None else max(limit, AT_ONCE))
        for path in self._backlog.take(limit):
            slot = self._slots[path]
            slot.queued = math.inf
            assert slot.due is not None  # or it would have been removed from the backlog
            slot.due = max(slot.due, held(path))
            if slot.due > now:  # it was put off after it had been queued
                self._queue(path, slot)
                continue
            yield path, slot
            self.cancel(path)
        self._fade(now, limit)

    def _become_due(self, now: float, limit: int | None) -> None:
        """Move what is due from the heap to the backlog."""
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
        self._backlog.add(path, minor=slot.minor)

    def next_due(self) -> float | None:
        """Return when something is due, in seconds; at times too early, never too late."""
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
        """Return what is wanted for new content and was met last, at most `limit`, the oldest first."""
        wanted = (
            (path, slot)
            for path, slot in reversed(self._slots.items())
            if slot.due is not None and not slot.minor
        )
        return list(islice(wanted, limit))[::-1]

    def forget_history(self) -> None:
        """Keep only what is wanted."""
        self._slots = {p: s for p, s in self._slots.items() if s.due is not None}
        self._fading.clear()

    def _fade(self, now: float, limit: int | None) -> None:
        left = None if limit is None else max(limit, AT_ONCE)
        while self._fading and self._fading[0][0] <= now and left != 0:
            left = left and left - 1
            path = heapq.heappop(self._fading)[1]
            slot = self._slots.get(path)
            if slot is not None and slot.due is None and slot.faded <= now:
                del self._slots[path]

    def _queue(self, path: bytes, slot: Slot) -> None:
        assert slot.due is not None  # what callers have just set
        slot.queued = slot.due
        heapq.heappush(self._dues, (slot.due, path))
        if len(self._dues) > self.SLACK * (self.pending + 256):
            wanted = ((p, s) for p, s in self._slots.items() if s.due is not None)
            self._dues = [(s.queued, p) for p, s in wanted if math.isfinite(s.queued)]
            heapq.heapify(self._dues)

    def _link(self, path: bytes) -> None:
        while path:
            above = parent(path)
            siblings = self._children.get(above)
            if siblings is not None:
                siblings.add(path)
                return
            self._children[above] = {path}
            path = above

    def _unlink(self, path: bytes) -> None:
        while path and path not in self._children and not self.is_pending(path):
            above = parent(path)
            siblings = self._children[above]
            siblings.discard(path)
            if siblings:
                return
            del self._children[above]
            path = above
