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


class Place:
    """A place at the gate, or the wait for it.

    Args:
        bootstrap_queue: the gate.
        owner: whose it is.

    Attributes:
        admitted: done while the place is held.
    """

    def __init__(self, bootstrap_queue: BootstrapQueue, owner: object) -> None:
        self.owner = owner
        self.admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._bootstrap_queue = bootstrap_queue

    @property
    def is_held(self) -> bool:
        """True while it is held."""
        return self.admitted.done() and not self.admitted.cancelled()

    async def wait(self) -> None:
        """Wait until it is held."""
        await asyncio.shield(self.admitted)  # a waiter that is cancelled leaves the place as it is

    def give_way(self) -> bool:
        """Leave it to whoever waits, and wait again; return False if nobody does, and it stays held."""
        if not self.is_held or not self._bootstrap_queue.is_wanted:
            return False
        self._bootstrap_queue.give_way(self)
        return True


class BootstrapQueue:
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

    @property
    def is_wanted(self) -> bool:
        """True if somebody waits for a place."""
        return bool(self._queue)

    @asynccontextmanager
    async def place(self, owner: object, rank: Rank = Rank.USUAL) -> AsyncIterator[Place]:
        """Wait for a place, and hold it.

        Args:
            owner: whom `position` will be asked about.
            rank: who it goes before.
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
        """Give a place to whoever waits for it, and wait again behind all of the same rank; who was asked for is usual then."""
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
        elif not waiting.cancelled():  # admitted, even if our task was cancelled in the same breath
            self._inside -= 1

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
