"""Which directories of a catalog have changed since their entries were read."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from replicator.model import DIRECTORY, parent
from replicator.ports import Record

MOST = 50_000
"""Directories that are recorded: about 10 MB. After more of them, everything counts as changed."""


@dataclass(frozen=True)
class Changes:
    """What has changed.

    Attributes:
        contents: directories in which a file or symlink was written, or a path removed.
        directories: directories that were written themselves.
        replaced: both ends of renames, of which everything below has changed.
    """

    contents: set[bytes] = field(default_factory=set)
    directories: set[bytes] = field(default_factory=set)
    replaced: set[bytes] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.contents) + len(self.directories) + len(self.replaced)


class ChangedDirectories:
    """Records the changes of one tree, from the first `take` on. Thread-safe; no call waits for a read of the catalog."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changes: Changes | None = None  # None: everything counts as changed

    def written(self, records: Iterable[Record], gone: Iterable[bytes]) -> None:
        """Record that paths were written or removed, after that was committed."""
        with self._lock:
            if self._changes is None:
                return
            for path, entry, *_ in records:
                if entry.kind == DIRECTORY:
                    self._changes.directories.add(path)
                else:
                    self._changes.contents.add(parent(path))
            self._changes.contents.update(map(parent, gone))
            self._limit(self._changes)

    def moved(self, source: bytes, target: bytes) -> None:
        """Record that a path was renamed with everything below it, after that was committed."""
        with self._lock:
            if self._changes is not None:
                self._changes.replaced.update((source, target))
                self._limit(self._changes)

    def take(self) -> Changes | None:
        """Return the changes since the last call; None if everything counts as changed, as before the first call."""
        with self._lock:
            changes, self._changes = self._changes, Changes()
            return changes

    def stop(self) -> None:
        """Forget the changes: the next `take` returns None."""
        with self._lock:
            self._changes = None

    def _limit(self, changes: Changes) -> None:
        if len(changes) > MOST:
            self._changes = None
