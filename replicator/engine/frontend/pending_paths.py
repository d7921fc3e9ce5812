"""The pending paths of one frontend, across its connections: what is marked dirty without being sent, and how much that may be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager

import structlog

from replicator.core.dirty import DirtySet
from replicator.core.pending import Key, PendingKind
from replicator.engine.budget import Budget
from replicator.engine.changes.encode import EncodedChanges
from replicator.engine.frontend.resync import ResyncQueue
from replicator.engine.loop import loop_time
from replicator.model import is_within, rebase

log = structlog.get_logger()

MOST_RENAMED = 3000
"""Dirty paths below a renamed directory that are marked under their new names: each takes 5 us of the event loop. With more of them, the
frontend is compared as a whole."""


class PendingPaths:
    """The pending paths of one frontend.

    Args:
        host: name of the frontend in the log.
        dirty: its dirty paths.
        resync: receives what must be compared, because it cannot be marked dirty path by path.
        budget: limits the dirty paths of all frontends together.

    Attributes:
        dirty: the same.
        is_connected: True while live changes are sent to the frontend.
        counted: the trees of which `dirty` holds all that the frontend lacks: from the first comparison on, until it is cleared.
        compared: the trees that were compared on this connection, so that a change may build on what the frontend holds of them.
        refuses_too_much: `dirty` reached a limit on this connection, and the frontend had refused some of the paths.
        reduced: set when there may be fewer pending paths than before.
        repairing: the dirty paths that differed in a verification. Unlike a path that is lost here, one that is confirmed does not differ any more.
    """

    def __init__(self, host: str, dirty: DirtySet, resync: ResyncQueue, budget: Budget) -> None:
        self.dirty = dirty
        self.is_connected = False
        self.counted: set[int] = set()
        self.compared: set[int] = set()
        self.refuses_too_much = False
        self.reduced = asyncio.Event()
        self.repairing: set[Key] = set()
        self._host = host
        self._resync = resync
        self._budget = budget
        self._noted: list[set[Key]] = []

    def __len__(self) -> int:
        return len(self.dirty)

    def connected(self, opened: Container[int]) -> None:
        """Record a new connection. Refused paths are tried again at once.

        Paths of trees that are not open on it are forgotten: the comparison that follows finds them.
        """
        self._forget_trees(lambda tree: tree not in opened)
        self.dirty.retry_now()
        self.counted = {tree for tree in self.counted if tree in opened}
        self.refuses_too_much = False
        self.is_connected = True

    def connection_lost(self) -> None:
        """Record that the connection is lost."""
        self.is_connected = False
        self.compared.clear()
        self.dirty.connection_lost()

    def tree_compared(self, tree: int) -> None:
        """Record that a whole tree was compared, and what differed was sent or refused."""
        if self._resync.is_satisfied(tree):  # otherwise dirty paths may have been dropped meanwhile
            self.compared.add(tree)
            self.counted.add(tree)
        self._resync.ended(tree)

    def is_followed(self, tree: int) -> bool:
        """Return True if all that changed in a tree since it was compared as a whole is pending or confirmed."""
        return tree in self.counted and tree in self._resync.certain

    def forget(self, tree: int) -> None:
        """Forget a tree that was removed."""
        self.compared.discard(tree)
        self.counted.discard(tree)
        self._forget_trees(lambda number: number == tree)
        self.reduced.set()

    def _forget_trees(self, is_removed: Callable[[int], bool]) -> None:
        self.dirty.forget_trees(is_removed)
        self.repairing = {key for key in self.repairing if not is_removed(key.tree)}

    def mark(self, keys: list[Key], kind: PendingKind) -> None:
        """Mark unchanged paths dirty; they are sent before those that a comparison found."""
        for key in keys:
            self.dirty.mark(key, kind, loop_time(), urgent=True)
        self.marked(len(keys))

    def repair(self, keys: list[Key]) -> None:
        """Mark paths dirty that differed in a verification."""
        self.repairing.update(keys)
        self.mark(keys, PendingKind.CONTENT)

    def missed(self, encoded: EncodedChanges) -> None:
        """Mark the paths of a change dirty for the next connection, unless the whole tree will be compared then."""
        for part in encoded.parts:
            if part.key.tree not in self.counted:
                continue
            if part.target:
                source, target = part.ends
                if not self.rename(source, target):
                    return
                self._resync.request(target)
            self.dirty.mark(
                part.key, PendingKind.DELTA, loop_time(), urgent=True, removal=part.is_delete
            )

    def rename(self, source: Key, target: Key) -> bool:
        """Record a rename on the backend, see `DirtySet.rename`; return False if all dirty paths were dropped, because too many are concerned."""
        if self.repairing:
            self.repairing = set(_renamed(self.repairing, source, target))
        if any(self.dirty.has_more_below(end, MOST_RENAMED) for end in (source, target)):
            self._drop_all("the rename of one directory")
            return False
        self.dirty.rename(source, target, loop_time())
        return True

    def note(self, encoded: EncodedChanges) -> None:
        """Add the paths of a change to the sets of `noting_changes`."""
        for noted in self._noted:
            noted.update(part.key for part in encoded.parts)

    @contextmanager
    def noting_changes(self) -> Iterator[set[Key]]:
        """Yield a set of the dirty paths, to which every path is added that changes meanwhile."""
        noted = set(self.dirty)
        self._noted.append(noted)
        try:
            yield noted
        finally:
            self._noted.remove(noted)

    def marked(self, count: int) -> None:
        """Apply the limits, of this frontend and of all together, after up to `count` paths were marked dirty."""
        if self.dirty.overflowed:
            self.clear("one frontend")
        self._budget.marked(count)

    def clear(self, limit: str) -> None:
        """Drop all dirty paths, and request a comparison of everything instead.

        Args:
            limit: whose limit was reached, for the log.
        """
        self.refuses_too_much = self.refuses_too_much or self.dirty.has_refusals()
        self._drop_all(limit)

    def _drop_all(self, limit: str) -> None:
        log.warning("too many paths are dirty; comparing everything", host=self._host, limit=limit)
        self.dirty.clear()
        self.repairing.clear()
        self.counted.clear()
        self.compared.clear()
        if self.is_connected:  # otherwise the next connection begins with that
            self._resync.request_all()
        self.reduced.set()


def _renamed(keys: Iterable[Key], source: Key, target: Key) -> Iterator[Key]:
    """Yield keys as they are after a rename of a directory; what was at the target is replaced."""
    for key in keys:
        if key.tree == source.tree and is_within(key.path, source.path):
            yield Key(key.tree, rebase(key.path, source.path, target.path))
        elif key.tree != target.tree or not is_within(key.path, target.path):
            yield key
