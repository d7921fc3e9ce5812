"""What live changes have changed in a tree since its restore began: the restore must not undo it."""

from __future__ import annotations

import threading

from replicator.model import ancestors, is_temporary, is_within
from replicator.wire.changes import Change, Delete, MakeDirectory, Move

MOST = 100_000
"""Removed paths that are recorded: 20 MB. With more, the restore of a tree ends, and the comparison does the rest."""


class LiveChanges:
    """Records live changes to one tree, for a restore in other threads.

    The main loop holds `lock` while it applies changes and notes them; a restore holds it while it checks a name and creates it.

    Args:
        lock: the lock.

    Attributes:
        lock: the argument.
        directories: modes and times that live changes have given to directories.
        overflowed: too many paths were removed to record them all.
    """

    def __init__(self, lock: threading.Lock) -> None:
        self.lock = lock
        self.directories: dict[bytes, tuple[int, int]] = {}
        self.overflowed = False
        self._removed: set[bytes] = set()
        self._closed = False

    def close(self) -> None:
        """Admit nothing any more: from now on no changes are noted."""
        with self.lock:
            self._closed = True

    def note(self, change: Change) -> None:
        """Record a change that is about to be applied, whether that will succeed or not."""
        if isinstance(change, MakeDirectory):
            self.directories[change.path] = (change.mode, change.mtime_ns)
            return
        # A file that is put is there, so a restore does not replace it; a name that was removed must not come back.
        if isinstance(change, Delete):
            self._removed.add(change.path)
        elif isinstance(change, Move):
            self._removed.update((change.path, change.target))
        self.overflowed = self.overflowed or len(self._removed) > MOST

    def admits(self, path: bytes) -> bool:
        """Return True if a restore may create a path.

        Neither it nor a directory above it was removed or renamed, it is none of replicator's own names, and changes are still noted.
        """
        if self._closed or (b".replicator" in path and _is_own(path)):
            return False
        if not self._removed:
            return True
        return path not in self._removed and self._removed.isdisjoint(ancestors(path))


def _is_own(path: bytes) -> bool:
    """Return True for the directory of the ready file, what is in it, and temporaries."""
    return is_within(path, b".replicator") or any(map(is_temporary, path.split(b"/")))
