"""The gate: at most so many frontends are filled at a time, first come, first served.

It bounds what a scale-out costs the backend: ten new frontends are two at a time, not ten. A frontend that a person asked
for goes to the front, one that is on its way out to the end. One that is cancelled, or vanishes, gives its place back at once.
"""

from __future__ import annotations

import asyncio
import enum
from bisect import bisect_right
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Rank(enum.IntEnum):
    """Who goes first; within a rank, who came first."""

    ASKED_FOR = 0
    USUAL = 1
    LEAVING = 2


class Gate:
    """Places for frontends that are being filled.

    Args:
        places: how many; can be changed at any time.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._inside = 0
        self._queue: list[asyncio.Future[None]] = []
        self._owners: dict[asyncio.Future[None], object] = {}
        self._ranks: dict[asyncio.Future[None], Rank] = {}

    @property
    def inside(self) -> int:
        """How many are being filled right now."""
        return self._inside

    def resize(self, places: int) -> None:
        """Change the number of places; who is inside stays inside."""
        self._places = places
        self._admit()

    def position(self, owner: object) -> int | None:
        """Return the place in the queue, 1 for the next; None if it is not in the queue."""
        for index, waiting in enumerate(self._queue, 1):
            if self._owners.get(waiting) is owner:
                return index
        return None

    @asynccontextmanager
    async def place(self, owner: object, rank: Rank = Rank.USUAL) -> AsyncIterator[None]:
        """Wait for a place, and hold it.

        Args:
            owner: whom `position` will be asked about.
            rank: who it goes before.
        """
        waiting = asyncio.get_running_loop().create_future()
        self._owners[waiting] = owner
        self._enqueue(waiting, rank)
        self._admit()
        try:
            await waiting
            yield
        finally:
            del self._owners[waiting], self._ranks[waiting]
            if waiting in self._queue:
                self._queue.remove(waiting)
            elif (
                not waiting.cancelled()
            ):  # admitted, even if our task was cancelled in the same breath
                self._inside -= 1
            self._admit()

    def to_front(self, owner: object) -> None:
        """A person asks for a waiting owner now."""
        for waiting in [w for w in self._queue if self._owners.get(w) is owner]:
            self._queue.remove(waiting)
            self._enqueue(waiting, Rank.ASKED_FOR)

    def _enqueue(self, waiting: asyncio.Future[None], rank: Rank) -> None:
        self._ranks[waiting] = rank
        self._queue.insert(bisect_right(self._queue, rank, key=self._ranks.__getitem__), waiting)

    def _admit(self) -> None:
        while self._queue and self._inside < self._places:
            waiting = self._queue.pop(0)
            if not waiting.cancelled():
                self._inside += 1
                waiting.set_result(None)
