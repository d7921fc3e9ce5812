"""Where a change goes on its way to one frontend: to the courier while there is one, else to what is owed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from replicator.core.debts import Key, Owed
from replicator.core.dirty import DirtySet
from replicator.engine.courier import Courier
from replicator.engine.doubts import Doubts
from replicator.engine.parcel import Parcel, Part

log = structlog.get_logger()


class Dispatch:
    """Takes all that changes, for one frontend.

    Args:
        host: what the log calls it.
        dirty: what it is owed.
        doubts: is told what must be compared, because it cannot be owed path by path.

    Attributes:
        dirty: the same.
        bytes_saved: bytes that deltas have spared.
        counted: True while `dirty` holds all that the frontend lacks: from the first comparison on, until it overflows.
    """

    def __init__(self, host: str, dirty: DirtySet, doubts: Doubts) -> None:
        self.dirty = dirty
        self.bytes_saved = 0
        self.counted = False
        self._host = host
        self._doubts = doubts
        self._courier: Courier | None = None
        self._known = False
        self._noted: list[set[Key]] = []

    def connected(self, courier: Courier) -> None:
        """There is a courier from now on."""
        self._courier = courier

    def compared(self) -> None:
        """What the frontend holds is known, so that a parcel may build on it."""
        self._known = self.counted = True

    def lost(self) -> None:
        """The connection is gone, and with it what was under way."""
        self._courier = None
        self._known = False
        self.dirty.lost()

    def offer(self, parcel: Parcel) -> None:
        """Take a live change: send it, or owe it."""
        for noted in self._noted:
            noted.update(part.key for part in parcel.parts)
        if self._courier is None:
            self._remember(parcel)
        elif parcel.parts and parcel.parts[0].target:
            self._courier.post_move(parcel)
            self._moved(parcel.parts[0])
        elif self._courier.post(parcel, builds=self._known):
            self.bytes_saved += parcel.saved
        self._mind_overflow()

    def owe(self, keys: list[Key], owed: Owed) -> None:
        """Send paths before everything that is bulk, though they have not changed here."""
        now = _now()
        for key in keys:
            self.dirty.mark(key, owed, now, urgent=True)
        self.wake()
        self._mind_overflow()

    def wake(self) -> None:
        """Something was made dirty: let the courier look."""
        if self._courier is not None:
            self._courier.wake()

    @contextmanager
    def noting_changes(self) -> Iterator[set[Key]]:
        """Yield a set to which every path is added that is owed now, or changes meanwhile."""
        noted = set(self.dirty)
        self._noted.append(noted)
        try:
            yield noted
        finally:
            self._noted.remove(noted)

    def _moved(self, part: Part) -> None:
        """What was renamed before it was compared, perhaps to where a comparison has been already, is compared where it is now."""
        if not self._known or self._doubts.touch(part.key):
            self._doubts.directory(Key(part.key.tree, part.target))

    def _remember(self, parcel: Parcel) -> None:
        """Remember a change for the next connection."""
        now = _now()
        for part in parcel.parts:
            if part.target:
                self.dirty.rename(part.key.tree, part.key.path, part.target, now)
                self._doubts.directory(Key(part.key.tree, part.target))
            self.dirty.mark(part.key, Owed.CONTENT, now, urgent=True)

    def _mind_overflow(self) -> None:
        if self.dirty.overflowed:
            log.warning("too much is dirty; comparing everything instead", host=self._host)
            self.dirty.overflowed = self.counted = False
            self._doubts.everything()


def _now() -> float:
    return asyncio.get_running_loop().time()
