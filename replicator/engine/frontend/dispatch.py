"""Where a change goes on its way to one frontend: to the courier while there is one, else to what is owed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from replicator.core.dirty import DirtySet
from replicator.core.pending import Key, PendingKind
from replicator.engine.budget import Budget
from replicator.engine.changes.encode import EncodedChanges
from replicator.engine.frontend.moves import ends_of
from replicator.engine.frontend.resync import ResyncQueue
from replicator.engine.frontend.sender import Sender

log = structlog.get_logger()


class Dispatch:
    """Takes all that changes, for one frontend.

    Args:
        host: what the log calls it.
        dirty: what it is owed.
        doubts: is told what must be compared, because it cannot be owed path by path.
        budget: bounds what all frontends together are owed.

    Attributes:
        dirty: the same.
        bytes_saved: bytes that deltas have spared.
        counted: the trees of which `dirty` holds all that the frontend lacks: from the first comparison on, until it overflows.
        forgotten: called when what was owed had to be forgotten: nobody must wait for it to be sent.
        refuses_too_much: on this connection what was owed had to be forgotten, and some of it was refused.
    """

    def __init__(self, host: str, dirty: DirtySet, resync: ResyncQueue, budget: Budget) -> None:
        self.dirty = dirty
        self.bytes_saved = 0
        self.counted: set[int] = set()
        self.forgotten: Callable[[], None] = lambda: None
        self.refuses_too_much = False
        self._budget = budget
        self._host = host
        self._resync = resync
        self._courier: Sender | None = None
        self._opened: set[int] = set()
        self._known: set[int] = set()
        self._noted: list[set[Key]] = []

    @property
    def away(self) -> bool:
        """True if the frontend is not connected."""
        return self._courier is None

    def connected(self, sender: Sender) -> None:
        """There is a courier from now on. It carries nothing of a tree that is not opened."""
        self.dirty.forget(lambda tree: tree not in self._opened)
        self.counted &= self._opened
        self.refuses_too_much = False
        self._courier = sender

    def opened(self, tree: int) -> None:
        """The agent has opened a tree on this connection. What changed before is found by the comparison that follows."""
        self._opened.add(tree)

    def compared(self, tree: int) -> None:
        """What the frontend holds of a tree is known, so that a parcel may build on it."""
        self._known.add(tree)
        self.counted.add(tree)
        self._resync.compared(tree)

    def is_followed(self, tree: int) -> bool:
        """Return True if the frontend is owed, or has confirmed, all that changed in a tree since it was compared as a whole."""
        return tree in self.counted and tree in self._resync.certain

    def forget(self, tree: int) -> None:
        """A tree was removed: nothing of it is owed, and nothing is sent any more."""
        self._opened.discard(tree)
        self._known.discard(tree)
        self.counted.discard(tree)
        self.dirty.forget(lambda number: number == tree)

    def lost(self) -> None:
        """The connection is gone, and with it what was under way.

        A rename that was under way is owed by its old name alone: what the frontend holds below the new one is unknown.
        """
        if self._courier is not None and self._courier.is_moving:
            self._resync.certain.clear()
        self._courier = None
        self._opened.clear()
        self._known.clear()
        self.dirty.lost()

    def offer(self, encoded: EncodedChanges) -> None:
        """Take a live change: send it, or owe it."""
        for noted in self._noted:
            noted.update(part.key for part in encoded.parts)
        if self._courier is None:
            self._remember(encoded)
        elif not encoded.parts or encoded.parts[0].key.tree not in self._opened:
            return
        elif encoded.parts[0].target:
            self._move(self._courier, encoded)
        elif self._courier.post(encoded, builds=encoded.parts[0].key.tree in self._known):
            self.bytes_saved += encoded.saved
        self.marked(len(encoded.parts))

    def owe(self, keys: list[Key], owed: PendingKind) -> None:
        """Send paths before everything that is bulk, though they have not changed here."""
        now = _now()
        for key in keys:
            self.dirty.mark(key, owed, now, urgent=True)
        self.wake()
        self.marked(len(keys))

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

    def _move(self, sender: Sender, encoded: EncodedChanges) -> None:
        """Send a move, after which the target is compared unless it is certain what the frontend holds at both ends."""
        (part,) = encoded.parts
        source, target = ends_of(part)
        uncertain = part.key.tree not in self._known or any(
            map(self._resync.touch, (source, target))
        )
        self.dirty.rename(source, target, _now())
        sender.post_move(encoded, uncertain=uncertain)

    def marked(self, count: int) -> None:
        """Note that up to `count` paths were marked, and keep the limits: this frontend's, and that of all together."""
        if self.dirty.overflowed:
            self.forget_owed("one frontend")
        self._budget.marked(count)

    def forget_owed(self, limit: str) -> None:
        """Forget what is owed path by path, and compare everything instead.

        Args:
            limit: whose limit was reached, for the log.
        """
        log.warning("too much is owed; comparing everything instead", host=self._host, limit=limit)
        self.refuses_too_much = self.refuses_too_much or self.dirty.refusals()
        self.dirty.clear()
        self.counted.clear()
        self._known.clear()
        if not self.away:  # the next connection begins with that
            self._resync.everything()
        self.forgotten()

    def _remember(self, encoded: EncodedChanges) -> None:
        """Remember a change for the next connection, unless all of its tree will be compared anyway."""
        now = _now()
        for part in encoded.parts:
            if part.key.tree not in self.counted:
                continue
            if part.target:
                source, target = ends_of(part)
                self.dirty.rename(source, target, now)
                self._resync.directory(target)
            self.dirty.mark(part.key, PendingKind.CONTENT, now, urgent=True)


def _now() -> float:
    return asyncio.get_running_loop().time()
