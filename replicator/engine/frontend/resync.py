"""Queue of what must be compared again on one frontend: single directories, or whole trees."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from replicator.core.pending import Key
from replicator.engine.loop import loop_time
from replicator.model import ROOT, overlap

MOST_DIRECTORIES = 1000
"""Queued directories above which everything is compared instead: each costs a round trip."""


class ResyncQueue:
    """Requests for comparisons, until these have been made.

    Attributes:
        certain: the trees of which no comparison was requested since they were compared as a whole.
        held: the trees that must not be compared now; see `hold`.
    """

    def __init__(self) -> None:
        self.certain: set[int] = set()
        self.held: frozenset[int] = frozenset()
        self._directories: dict[Key, None] = {}
        self._comparing: list[Key] = []
        self._requests = 0
        self._satisfied: dict[int, int] = {}
        self._ended_at: dict[int, float] = {}
        self._added = asyncio.Event()
        self._changed = asyncio.Event()
        self._notified = asyncio.Event()

    def __bool__(self) -> bool:
        """True while a directory is queued, or anything is being compared."""
        return bool(self._directories or self._comparing)

    def overlaps(self, key: Key) -> bool:
        """Return True if a directory at, below or above a path is queued, or is being compared."""
        return any(
            one.tree == key.tree and overlap(one.path, key.path)
            for one in (*self._directories, *self._comparing)
        )

    def request(self, key: Key) -> None:
        """Request a comparison of a directory."""
        self.certain.discard(key.tree)
        self._directories[key] = None
        self._added.set()
        if len(self._directories) > MOST_DIRECTORIES:
            self._directories.clear()
            self.request_all()

    def request_all(self) -> None:
        """Request a comparison of all trees."""
        self.certain.clear()
        self._requests += 1
        self.notify()

    def request_tree(self, tree: int) -> None:
        """Request a comparison of one tree."""
        self.certain.discard(tree)
        self._satisfied.pop(tree, None)
        self.notify()

    def connected(self) -> None:
        """Request a comparison of all trees on a new connection; wake no waiting task."""
        self._satisfied.clear()

    def forget(self, tree: int) -> None:
        """Drop all requests of a tree that was removed."""
        for key in [key for key in self._directories if key.tree == tree]:
            del self._directories[key]
        self.certain.discard(tree)
        self._satisfied.pop(tree, None)
        self.notify()

    def notify(self) -> None:
        """Wake `changed` and `pause`: a comparison was requested, or a tree was added, removed or can be compared now."""
        self._changed.set()
        self._notified.set()

    async def next_directory(self) -> Key:
        """Wait for a queued directory of a tree that is not held, remove it from the queue, and return it."""
        while (key := self._next()) is None:
            self._added.clear()
            await self._added.wait()
        del self._directories[key]
        return key

    def _next(self) -> Key | None:
        return next((key for key in self._directories if key.tree not in self.held), None)

    def hold(self, trees: frozenset[int]) -> None:
        """Keep the requests of these trees in the queue, and return those of all others."""
        self.held = trees
        self._added.set()
        self.notify()

    @contextmanager
    def comparing(self, directory: Key) -> Iterator[None]:
        """Count a directory as being compared until the context ends."""
        self._comparing.append(directory)
        try:
            yield
        finally:
            self._comparing.remove(directory)
            self._ended_at[directory.tree] = loop_time()

    def ended_at(self, tree: int) -> float:
        """Return when the last comparison in a tree ended. What comparisons have found became dirty before; infinitely early if there was none."""
        return self._ended_at.get(tree, -math.inf)

    def began(self, tree: int) -> None:
        """Record that a comparison of a whole tree begins. It satisfies every request made before now."""
        self._satisfied[tree] = self._requests

    def ended(self, tree: int) -> None:
        """Record that a comparison of a whole tree has ended; what it found was confirmed, or is dirty."""
        if self.is_settled(tree):
            self.certain.add(tree)

    def is_satisfied(self, tree: int) -> bool:
        """Return True if a comparison of the whole tree has begun since the last request."""
        return self._satisfied.get(tree) == self._requests

    def is_settled(self, tree: int) -> bool:
        """Return True if nothing in a tree is being compared, or must be."""
        return self.is_satisfied(tree) and not self.overlaps(Key(tree, ROOT))

    async def changed(self, within: float | None) -> None:
        """Wait for a call of `notify` since the last return, but no longer than `within` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._changed.wait()
        self._changed.clear()

    async def pause(self, within: float) -> None:
        """Wait until `notify` is called from now on, but no longer than `within` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                self._notified.clear()
                await self._notified.wait()
