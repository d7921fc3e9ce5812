"""Whose turn it is: urgent (live) debts before bulk ones, each in the order of marking, and blocked ones at their time."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import NamedTuple

from replicator.core.debts import Debt, Due, Key, State


class _Retry(NamedTuple):
    until: float
    generation: int  # no two are equal, so that what follows is never compared
    key: Key
    debt: Debt

    @property
    def is_current(self) -> bool:
        """True while the debt is neither clean nor marked again."""
        return self.debt.state is not State.CLEAN and self.debt.generation == self.generation


class Queues:
    """Knows the state of every debt, and takes them in turn; times are seconds of a monotonic clock, given by the caller.

    Attributes:
        bulk_open: bulk debts that are neither acknowledged nor blocked.
    """

    def __init__(self) -> None:
        # Not plain dicts: taking the first key of one, again and again, passes over all that were taken before.
        self._urgent: OrderedDict[Key, Debt] = OrderedDict()
        self._bulk: OrderedDict[Key, Debt] = OrderedDict()
        self._retries: list[_Retry] = []
        self.bulk_open = 0

    def turn(self, key: Key, debt: Debt, state: State, *, urgent: bool | None = None) -> None:
        """Change a debt's state, and with it its queue and the count of open bulk.

        Args:
            key: whose it is.
            debt: the debt.
            state: the new one.
            urgent: whether it is a live change from now on; None leaves it as it was.
        """
        if debt.state is State.WAITING:
            (self._urgent if debt.urgent else self._bulk).pop(key, None)
        self.bulk_open -= debt.is_open_bulk
        debt.state = state
        debt.urgent = debt.urgent if urgent is None else urgent
        self.bulk_open += debt.is_open_bulk
        if state is State.WAITING:
            (self._urgent if debt.urgent else self._bulk)[key] = debt

    def block(self, key: Key, debt: Debt, until: float) -> None:
        """Leave a debt alone until a time."""
        self.turn(key, debt, State.BLOCKED)
        heapq.heappush(self._retries, _Retry(until, debt.generation, key, debt))

    def take(self, now: float, limit: int, is_cut: Callable[[bytes], bool]) -> list[Due]:
        """Return at most `limit` debts that wait; they are *sent* from here on. See DirtySet.take."""
        while self._retries and self._retries[0].until <= now:
            retry = heapq.heappop(self._retries)
            if retry.is_current and retry.debt.state is State.BLOCKED:
                self.turn(retry.key, retry.debt, State.WAITING)
        taken: list[Due] = []
        for queue in (self._urgent, self._bulk):
            while queue and len(taken) < limit:
                key, debt = next(iter(queue.items()))
                self.turn(key, debt, State.SENT)
                taken.append(Due(key, debt.generation, debt.owed))
                if queue is self._bulk and 2 * len(taken) >= limit and is_cut(key.path):
                    return taken
        return taken

    def next_retry(self) -> float | None:
        """Return when the next blocked debt is due; None if none is."""
        return self._retries[0].until if self._retries else None

    def blocked(self, limit: int) -> Iterator[tuple[Key, Debt]]:
        """Yield what is blocked, as far as the next `limit` retries tell."""
        for retry in self._retries[:limit]:
            if retry.is_current:
                yield retry.key, retry.debt

    def clear(self) -> None:
        """Forget everything."""
        self._urgent.clear()
        self._bulk.clear()
        self._retries.clear()
        self.bulk_open = 0
