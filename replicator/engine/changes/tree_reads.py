"""The trees whose files are read for frontends, and which of them are being read."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from replicator.engine.tree import Tree


class TreeReads:
    """Counts the reads of each tree, so that the source of a removed tree is closed only after the last one. Thread-safe.

    Args:
        trees: the trees by number; trees may be added and removed at any time.

    Attributes:
        trees: as given.
    """

    def __init__(self, trees: Mapping[int, Tree]) -> None:
        self.trees = trees
        self._lock = threading.Lock()
        self._running: Counter[int] = Counter()

    @contextmanager
    def reading(self, number: int) -> Iterator[Tree | None]:
        """Yield a tree, or None if it was removed; its source is not closed before the context ends."""
        with self._lock:
            self._running[number] += 1
        try:
            yield self.trees.get(number)
        finally:
            with self._lock:
                self._running[number] -= 1
                if not self._running[number]:
                    del self._running[number]

    def is_reading(self, number: int) -> bool:
        """Return True while a thread reads a tree, also if the tree has been removed meanwhile."""
        with self._lock:
            return number in self._running
