"""Queues of dirty paths: urgent (live) before bulk, then deletions, each in the order of marking, and blocked ones at their retry time.

Deletions wait until no content of their tree is waiting. A path that is marked again while it waits goes to the end of its queue,
because it may need what was marked in between (`current -> releases/8`); a deletion that was marked in between (of `releases/7`) must not
overtake it.
"""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from replicator.core.pending import Key, PathState, Pending, PendingChange

_WAITING = PathState.WAITING  # faster than a lookup in the class at each change of state


class _Retry(NamedTuple):
    until: float
    generation: int  # no two are equal, so that what follows is never compared
    key: Key
    pending: Pending

    @property
    def is_current(self) -> bool:
        """True while the path is neither clean nor marked again."""
        return (
            self.pending.state is not PathState.CLEAN and self.pending.generation == self.generation
        )


class Queues:
    """Changes the state of dirty paths, and selects the next to send. Times are seconds of a monotonic clock, passed in by the caller.

    Attributes:
        bulk_open: number of bulk paths that are waiting or sent, not blocked.
        held: trees of which nothing is to be sent: their paths become HELD instead of WAITING.
        renewed: the paths that were marked again and not sent since, with their generations, in this order; without those that were deleted.
    """

    def __init__(self) -> None:
        self.held: frozenset[int] = frozenset()
        self.renewed: dict[Key, int] = {}
        # Not plain dicts: finding the first key of a dict skips all slots of removed keys, O(n) each time.
        self._urgent: OrderedDict[Key, Pending] = OrderedDict()
        self._bulk: OrderedDict[Key, Pending] = OrderedDict()
        self._removals: defaultdict[int, OrderedDict[Key, Pending]] = defaultdict(
            OrderedDict
        )  # by tree
        self._content: Counter[int] = Counter()  # number of paths in `_urgent` and `_bulk`, by tree
        self._removals_next = False
        self._retries: list[_Retry] = []
        self.bulk_open = 0

    def has_content_of(self, tree: int) -> bool:
        """Return True while a path of a tree is waiting that was not deleted."""
        return self._content[tree] > 0

    def _queue_of(self, key: Key, pending: Pending) -> OrderedDict[Key, Pending]:
        if pending.removal:
            return self._removals[key.tree]
        return self._urgent if pending.urgent else self._bulk

    def set_state(
        self,
        key: Key,
        pending: Pending,
        state: PathState,
        *,
        urgent: bool | None = None,
        removal: bool | None = None,
    ) -> None:
        """Change the state of a record, its queue and the count of open bulk.

        Args:
            key: the path.
            pending: its record.
            state: the new state.
            urgent: True for a live change, False for bulk; None: unchanged.
            removal: True if the path was deleted; None: unchanged.
        """
        if state is _WAITING and self.held and key.tree in self.held:
            state = PathState.HELD
        if pending.state is _WAITING:
            self._queue_of(key, pending).pop(key, None)
            self._content[key.tree] -= not pending.removal
        if self.renewed and state not in (_WAITING, PathState.SENT):
            self.renewed.pop(key, None)
        self.bulk_open -= pending.is_open_bulk
        pending.state = state
        pending.urgent = pending.urgent if urgent is None else urgent
        pending.removal = pending.removal if removal is None else removal
        self.bulk_open += pending.is_open_bulk
        if state is _WAITING:
            self._queue_of(key, pending)[key] = pending
            self._content[key.tree] += not pending.removal

    def block(self, key: Key, pending: Pending, until: float) -> None:
        """Block a record until a time."""
        self.set_state(key, pending, PathState.BLOCKED)
        heapq.heappush(self._retries, _Retry(until, pending.generation, key, pending))

    def retry_now(self) -> None:
        """Queue all blocked records now, in the order of marking."""
        for retry in sorted(self._retries, key=lambda retry: retry.generation):
            if retry.is_current and retry.pending.state is PathState.BLOCKED:
                self.set_state(retry.key, retry.pending, PathState.WAITING)
        self._retries.clear()

    def take(self, now: float, limit: int, is_cut: Callable[[bytes], bool]) -> list[PendingChange]:
        """Return at most `limit` waiting paths; their state becomes SENT. See DirtySet.take."""
        while self._retries and self._retries[0].until <= now:
            retry = heapq.heappop(self._retries)
            if retry.is_current and retry.pending.state is PathState.BLOCKED:
                self.set_state(retry.key, retry.pending, PathState.WAITING)
        taken: list[PendingChange] = []
        for queue in self._next_queues():
            while queue and len(taken) < limit:
                key, pending = next(iter(queue.items()))
                self.set_state(key, pending, PathState.SENT)
                taken.append(PendingChange(key, pending.generation, pending.kind))
                if queue is self._bulk and 2 * len(taken) >= limit and is_cut(key.path):
                    return taken
        return taken

    def _next_queues(self) -> Sequence[OrderedDict[Key, Pending]]:
        """Return the queues from which to take next: deletions, and content of other trees, in turn.

        Not both at the same time: what is read as one may be sent in another order.
        """
        ready = (
            queue for tree, queue in self._removals.items() if queue and not self._content[tree]
        )
        removals = next(ready, None)
        content = self._urgent, self._bulk
        if removals is None or (not self._removals_next and any(content)):
            self._removals_next = True
            return content
        self._removals_next = False
        return (removals,)

    def next_retry(self) -> float | None:
        """Return the time of the next retry; None if there is none. It may be too early: stale entries are not skipped."""
        return self._retries[0].until if self._retries else None

    def blocked(self) -> Iterator[tuple[Key, Pending]]:
        """Yield blocked records in no particular order, some perhaps twice; the queues must not be changed during the iteration."""
        for retry in self._retries:
            if retry.is_current:
                yield retry.key, retry.pending

    def clear(self) -> None:
        """Forget everything."""
        self._urgent.clear()
        self._bulk.clear()
        self._removals.clear()
        self._content.clear()
        self.renewed.clear()
        self._retries.clear()
        self.bulk_open = 0
