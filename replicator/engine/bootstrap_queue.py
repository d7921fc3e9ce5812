"""The bootstrap queue: at most `bootstrap.concurrency` frontends are compared and filled at a time, first come, first served.

It limits what a scale-out costs the backend: of ten new frontends, two are filled at a time. A frontend that an operator has asked
for goes to the front, one that is leaving to the end. A frontend whose task is cancelled releases its place at once.
"""

from __future__ import annotations

import asyncio
import enum
from bisect import bisect_right
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Rank(enum.IntEnum):
    """Order in the queue; within a rank, first come, first served."""

    ASKED_FOR = 0
    USUAL = 1
    LEAVING = 2


class Place:
    """A place that one frontend holds or waits for.

    Args:
        bootstrap_queue: the queue.
        owner: the frontend.

    Attributes:
        admitted: future that is done while the place is held.
    """

    def __init__(self, bootstrap_queue: BootstrapQueue, owner: object) -> None:
        self.owner = owner
        self.admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._bootstrap_queue = bootstrap_queue

    @property
    def is_held(self) -> bool:
        """True while the place is held."""
        return self.admitted.done() and not self.admitted.cancelled()

    async def wait(self) -> None:
        """Wait until the place is held."""
        await asyncio.shield(self.admitted)  # cancelling this call must not cancel the place

    def give_way(self) -> bool:
        """Release the place and wait for another one; return False, and keep it, if no other frontend waits."""
        if not self.is_held or not self._bootstrap_queue.is_wanted:
            return False
        self._bootstrap_queue.give_way(self)
        return True


class BootstrapQueue:
    """A bounded priority queue of frontends that must be filled.

    Args:
        places: number of frontends that are filled at a time.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._inside = 0
        self._queue: list[asyncio.Future[None]] = []
        self._owners: dict[asyncio.Future[None], object] = {}
        self._ranks: dict[asyncio.Future[None], Rank] = {}

    @property
    def inside(self) -> int:
        """Number of frontends that are being filled."""
        return self._inside

    def resize(self, places: int) -> None:
        """Change the number of places. Frontends that hold one keep it."""
        self._places = places
        self._admit()

    def position(self, owner: object) -> int | None:
        """Return the position of a waiting frontend, 1 for the next one; None if it does not wait."""
        for index, waiting in enumerate(self._queue, 1):
            if self._owners.get(waiting) is owner:
                return index
        return None

    @property
    def is_wanted(self) -> bool:
        """True if a frontend waits for a place."""
        return bool(self._queue)

    @asynccontextmanager
    async def place(self, owner: object, rank: Rank = Rank.USUAL) -> AsyncIterator[Place]:
        """Wait for a place, and hold it until the context ends.

        Args:
            owner: the frontend.
            rank: its order in the queue.
        """
        place = Place(self, owner)
        self._wait(place, rank)
        try:
            await place.wait()
            yield place
        finally:
            self._forget(place)
            self._admit()

    def give_way(self, place: Place) -> None:
        """Release a place, and queue for another one behind all others of its rank; rank ASKED_FOR becomes USUAL."""
        rank = max(self._ranks[place.admitted], Rank.USUAL)
        self._forget(place)
        self._wait(place, rank)

    def _wait(self, place: Place, rank: Rank) -> None:
        place.admitted = asyncio.get_running_loop().create_future()
        self._owners[place.admitted] = place.owner
        self._enqueue(place.admitted, rank)
        self._admit()

    def _forget(self, place: Place) -> None:
        waiting = place.admitted
        del self._owners[waiting], self._ranks[waiting]
        if waiting in self._queue:
            self._queue.remove(waiting)
        elif (
            not waiting.cancelled()
        ):  # it was admitted, even if its task was cancelled at the same moment
            self._inside -= 1

    def to_front(self, owner: object) -> None:
        """Move a waiting frontend to the front: an operator has asked for it."""
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
