"""Queues of dirty paths: urgent (live) before bulk, then deletions, each in the order of marking, and blocked ones at their retry time.

Deletions wait until no content of their tree is waiting. A path that is marked again while it waits goes to the end of its queue,
because it may need what was marked in between (`current -> releases/8`); a deletion that was marked in between (of `releases/7`) must not
overtake it.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from itertools import chain
from typing import NamedTuple

from replicator.core.pending import Key, PathState, Pending, PendingChange

_WAITING, _SENT = PathState.WAITING, PathState.SENT  # faster than a lookup in the class at each use

UNBLOCKED = 256
"""Blocked paths that one call of `take` queues, 3 us each."""


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

    @property
    def is_blocked(self) -> bool:
        """True while the path is blocked because of this refusal."""
        return (
            self.pending.state is PathState.BLOCKED and self.pending.generation == self.generation
        )


class _TreeQueues:
    """What is waiting of one tree.

    Attributes:
        urgent, bulk, removals: the queues.
        waiting_bulk: number of paths in them that are not urgent.
    """

    def __init__(self) -> None:
        # Not plain dicts: finding the first key of a dict skips all slots of removed keys, O(n) each time.
        self.urgent: OrderedDict[Key, Pending] = OrderedDict()
        self.bulk: OrderedDict[Key, Pending] = OrderedDict()
        self.removals: OrderedDict[Key, Pending] = OrderedDict()
        self.waiting_bulk = 0

    def of(self, pending: Pending) -> OrderedDict[Key, Pending]:
        """Return the queue of a record."""
        if pending.removal:
            return self.removals
        return self.urgent if pending.urgent else self.bulk

    @property
    def has_content(self) -> bool:
        return bool(self.urgent or self.bulk)


class Queues:
    """Changes the state of dirty paths, and selects the next to send. Times are seconds of a monotonic clock, passed in by the caller.

    Attributes:
        held: trees of which nothing is to be sent: `take` skips their queues.
        renewed: generations of the paths that were marked again while they were dirty, and not sent since; the oldest first. Without paths that
            were deleted, and without those of held trees.
    """

    def __init__(self) -> None:
        self.held: frozenset[int] = frozenset()
        self.renewed: dict[Key, int] = {}
        self._trees: defaultdict[int, _TreeQueues] = defaultdict(_TreeQueues)
        self._removals_next = False
        self._retries: list[_Retry] = []
        self._recalled: list[_Retry] = []  # in no order
        self._ripe: list[tuple[int, _Retry]] = []  # a heap by generation
        self._sent_bulk = 0

    @property
    def bulk_open(self) -> int:
        """Number of bulk paths that are waiting or sent, neither blocked nor held."""
        return self._sent_bulk + sum(
            one.waiting_bulk for tree, one in self._trees.items() if tree not in self.held
        )

    def hold(self, trees: frozenset[int]) -> None:
        """Hold these trees, and no others."""
        self.held = trees
        if self.renewed:
            self.renewed = {key: at for key, at in self.renewed.items() if key.tree not in trees}

    def has_content_of(self, tree: int) -> bool:
        """Return True while a path of a tree is to be sent that was not deleted."""
        return tree not in self.held and tree in self._trees and self._trees[tree].has_content

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
        tree = self._trees[key.tree]
        if pending.state is _WAITING:
            tree.of(pending).pop(key, None)
            tree.waiting_bulk -= not pending.urgent
        elif pending.state is _SENT:
            self._sent_bulk -= not pending.urgent
        if self.renewed and state is not _WAITING and state is not _SENT:
            self.renewed.pop(key, None)
        pending.state = state
        pending.urgent = pending.urgent if urgent is None else urgent
        pending.removal = pending.removal if removal is None else removal
        if state is _WAITING:
            tree.of(pending)[key] = pending
            tree.waiting_bulk += not pending.urgent
        elif state is _SENT:
            self._sent_bulk += not pending.urgent

    def block(self, key: Key, pending: Pending, until: float) -> None:
        """Block a record until a time."""
        self.set_state(key, pending, PathState.BLOCKED)
        heapq.heappush(self._retries, _Retry(until, pending.generation, key, pending))

    def retry_now(self) -> None:
        """Let the next calls of `take` queue all blocked records, in the order of marking, UNBLOCKED at a time."""
        self._recalled += self._retries
        self._retries = []

    def _unblock(self, now: float) -> None:
        """Queue some of the blocked records that are due."""
        for _ in range(min(UNBLOCKED, len(self._recalled))):
            retry = self._recalled.pop()
            if retry.is_blocked:
                heapq.heappush(self._ripe, (retry.generation, retry))
        if self._recalled:
            return  # until all of them are in order
        for _ in range(UNBLOCKED):
            if self._ripe:
                retry = heapq.heappop(self._ripe)[1]
            elif self._retries and self._retries[0].until <= now:
                retry = heapq.heappop(self._retries)
            else:
                return
            if retry.is_blocked:
                self.set_state(retry.key, retry.pending, _WAITING)

    def take(self, now: float, limit: int, is_cut: Callable[[bytes], bool]) -> list[PendingChange]:
        """Return at most `limit` waiting paths; their state becomes SENT. See DirtySet.take."""
        self._unblock(now)
        open_trees = [one for number, one in self._trees.items() if number not in self.held]
        removals = next((o.removals for o in open_trees if o.removals and not o.has_content), None)
        has_content = any(one.has_content for one in open_trees)
        taken: list[PendingChange] = []
        # Not deletions and content at the same time: what is read as one may be sent in another order.
        if removals is not None and (self._removals_next or not has_content):
            self._removals_next = False
            self._take_from([removals], taken, limit)
            return taken
        self._removals_next = True
        self._take_from([one.urgent for one in open_trees], taken, limit)
        self._take_from([one.bulk for one in open_trees], taken, limit, is_cut)
        return taken

    def _take_from(
        self,
        queues: list[OrderedDict[Key, Pending]],
        taken: list[PendingChange],
        limit: int,
        is_cut: Callable[[bytes], bool] = lambda _: False,
    ) -> None:
        """Add the first paths of some queues to `taken`, in the order of marking, until it holds `limit` or is cut."""
        queues = [queue for queue in queues if queue]
        while queues and len(taken) < limit:
            queue = queues[0] if len(queues) == 1 else min(queues, key=_first_generation)
            key, pending = next(iter(queue.items()))
            self.set_state(key, pending, _SENT)
            taken.append(PendingChange(key, pending.generation, pending.kind))
            if 2 * len(taken) >= limit and is_cut(key.path):
                return
            if not queue:
                queues.remove(queue)

    def next_retry(self) -> float | None:
        """Return the time of the next retry; None if there is none. It may be too early: stale entries are not skipped."""
        if self._recalled or self._ripe:
            return -math.inf
        return self._retries[0].until if self._retries else None

    def blocked(self) -> Iterator[tuple[Key, Pending]]:
        """Yield blocked records in no particular order, some perhaps twice; the queues must not be changed during the iteration."""
        ripe = (retry for _, retry in self._ripe)
        for retry in chain(self._retries, self._recalled, ripe):
            if retry.is_current:
                yield retry.key, retry.pending

    def clear(self) -> None:
        """Forget everything."""
        self._trees.clear()
        self.renewed.clear()
        self._retries.clear()
        self._recalled.clear()
        self._ripe.clear()
        self._sent_bulk = 0


def _first_generation(queue: OrderedDict[Key, Pending]) -> int:
    return next(iter(queue.values())).generation
