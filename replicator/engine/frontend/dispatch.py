"""Passes the live changes of one frontend to its sender.

Without a connection, or where a change cannot be sent, its paths are marked dirty; what was not counted yet is left to the next comparison.
"""

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
    """Takes every published change for one frontend.

    Args:
        host: what the log calls it.
        dirty: its dirty paths.
        resync: receives what must be compared, because it cannot be marked dirty path by path.
        budget: limits the dirty paths of all frontends together.

    Attributes:
        dirty: the same.
        bytes_saved: bytes that deltas have spared.
        counted: the trees of which `dirty` holds all that the frontend lacks: from the first comparison on, until it overflows.
        forgotten: called when the dirty paths were dropped, so that nothing waits for them to be sent.
        refuses_too_much: the dirty paths were dropped on this connection, and the frontend had refused some of them.
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
        self._sender: Sender | None = None
        self._opened: set[int] = set()
        self._known: set[int] = set()
        self._noted: list[set[Key]] = []

    @property
    def away(self) -> bool:
        """True if the frontend is not connected."""
        return self._sender is None

    @property
    def is_moving(self) -> bool:
        """True while the rename of a directory is in flight."""
        return self._sender is not None and self._sender.is_moving

    def connected(self, sender: Sender) -> None:
        """Use a sender from now on. It is passed nothing of a tree that is not open on the frontend."""
        self.dirty.forget_trees(lambda tree: tree not in self._opened)
        self.counted &= self._opened
        self.refuses_too_much = False
        self._sender = sender

    def opened(self, tree: int) -> None:
        """Record that the agent has opened a tree. The comparison that follows finds what changed before."""
        self._opened.add(tree)

    def compared(self, tree: int) -> None:
        """Record that a tree was compared: a change may build on what the frontend holds of it."""
        self._known.add(tree)
        self.counted.add(tree)
        self._resync.ended(tree)

    def is_followed(self, tree: int) -> bool:
        """Return True if the frontend is owed, or has confirmed, all that changed in a tree since it was compared as a whole."""
        return tree in self.counted and tree in self._resync.certain

    def forget(self, tree: int) -> None:
        """Drop everything about a tree that was removed."""
        self._opened.discard(tree)
        self._known.discard(tree)
        self.counted.discard(tree)
        self.dirty.forget_trees(lambda number: number == tree)

    def lost(self) -> None:
        """Record that the connection is lost.

        Of a move in flight only the old name is dirty. What the frontend holds below the new one is unknown, so the next comparison
        must not rely on what was confirmed.
        """
        if self._sender is not None and self._sender.is_moving:
            self._resync.certain.clear()
        self._sender = None
        self._opened.clear()
        self._known.clear()
        self.dirty.connection_lost()

    def offer(self, encoded: EncodedChanges) -> None:
        """Pass a live change to the sender, or mark its paths dirty."""
        for noted in self._noted:
            noted.update(part.key for part in encoded.parts)
        if self._sender is None:
            self._remember(encoded)
        elif not encoded.parts or encoded.parts[0].key.tree not in self._opened:
            return
        elif encoded.parts[0].target:
            self._move(self._sender, encoded)
        elif self._sender.post(encoded, builds=encoded.parts[0].key.tree in self._known):
            self.bytes_saved += encoded.saved
        self.marked(len(encoded.parts))

    def owe(self, keys: list[Key], owed: PendingKind) -> None:
        """Mark unchanged paths dirty; they are sent before those that a comparison found."""
        now = _now()
        for key in keys:
            self.dirty.mark(key, owed, now, urgent=True)
        self.wake()
        self.marked(len(keys))

    def wake(self) -> None:
        """Let the sender look for dirty paths."""
        if self._sender is not None:
            self._sender.wake()

    @contextmanager
    def noting_changes(self) -> Iterator[set[Key]]:
        """Yield a set of the dirty paths, to which every path is added that changes meanwhile."""
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
            map(self._resync.overlaps, (source, target))
        )
        self.dirty.rename(source, target, _now())
        sender.post_move(encoded, uncertain=uncertain)

    def marked(self, count: int) -> None:
        """Apply the limits, of this frontend and of all together, after up to `count` paths were marked dirty."""
        if self.dirty.overflowed:
            self.forget_owed("one frontend")
        self._budget.marked(count)

    def forget_owed(self, limit: str) -> None:
        """Drop all dirty paths, and compare everything instead.

        Args:
            limit: whose limit was reached, for the log.
        """
        log.warning("too much is owed; comparing everything instead", host=self._host, limit=limit)
        self.refuses_too_much = self.refuses_too_much or self.dirty.has_refusals()
        self.dirty.clear()
        self.counted.clear()
        self._known.clear()
        if not self.away:  # the next connection begins with that
            self._resync.request_all()
        self.forgotten()

    def _remember(self, encoded: EncodedChanges) -> None:
        """Mark the paths of a change dirty for the next connection, unless the whole tree will be compared then."""
        now = _now()
        for part in encoded.parts:
            if part.key.tree not in self.counted:
                continue
            if part.target:
                source, target = ends_of(part)
                self.dirty.rename(source, target, now)
                self._resync.request(target)
            self.dirty.mark(part.key, PendingKind.CONTENT, now, urgent=True)


def _now() -> float:
    return asyncio.get_running_loop().time()
