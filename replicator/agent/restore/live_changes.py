"""What live changes have changed in a tree since its restore began: the restore must not undo it."""

from __future__ import annotations

import mmap
import os
from typing import Iterable, Optional

from replicator.agent.restore.shared_lock import SharedLock, anonymous_file
from replicator.model import ancestors, is_temporary, is_within
from replicator.wire.changes import Change, Delete, MakeDirectory, Move

MOST = 100_000
"""Removed paths that are recorded: 20 MB. With more, the restore of a tree ends, and the comparison does the rest."""


class LiveChanges:
    """Records live changes to one tree, for a restore in other threads and, after `share`, in a process that is forked from this one.

    The main loop holds `lock` while it applies changes and notes them; a restore holds it while it checks a name and creates it.

    Args:
        lock: the lock.

    Attributes:
        lock: the argument.
        directories: modes and times that live changes have given to directories.
        overflowed: too many paths were removed to record them all.
    """

    def __init__(self, lock: SharedLock) -> None:
        self.lock = lock
        self.directories: dict[bytes, tuple[int, int]] = {}
        self.overflowed = False
        self._removed: set[bytes] = set()
        self._closed = False
        self._log = -1  # a file of removed paths, each ended by a zero byte
        self._log_ended: Optional[mmap.mmap] = (
            None  # one byte in shared memory; set: the log is incomplete from now on
        )
        self._follows = False
        self._read = 0

    def share(self) -> None:
        """Write what is noted from now on to a log for a forked process, which has to call `follow`; call it with the lock held.

        Raises:
            OSError: this system has no anonymous files.
        """
        self._log_ended = mmap.mmap(-1, 1)
        self._log = anonymous_file()

    def follow(self) -> None:
        """Read what the process that this one was forked from writes to the log; this one must note nothing itself."""
        self._follows = True

    def unshare(self) -> None:
        """Close the log, if there is one: the forked process has ended."""
        with self.lock:
            if self._log >= 0:
                os.close(self._log)
            self._log = -1

    def close(self) -> None:
        """Admit nothing any more, in both processes: from now on no changes are noted."""
        with self.lock:
            self._closed = True
            self._end_log()

    def note(self, change: Change) -> None:
        """Record a change that is about to be applied, whether that will succeed or not."""
        if isinstance(change, MakeDirectory):
            self.directories[change.path] = (change.mode, change.mtime_ns)
            return
        # A file that is put is there, so a restore does not replace it; a name that was removed must not come back.
        if isinstance(change, Delete):
            removed = [change.path]
        elif isinstance(change, Move):
            removed = [change.path, change.target]
        else:
            return
        self._remove(removed)
        if self._log >= 0:
            self._write(b"".join(path + b"\0" for path in removed))

    def admits(self, path: bytes) -> bool:
        """Return True if a restore may create a path.

        Neither it nor a directory above it was removed or renamed, it is none of replicator's own names, and changes are still noted.
        """
        if self._follows:
            self._learn()
        if self._closed or (b".replicator" in path and _is_own(path)):
            return False
        if not self._removed:
            return True
        return path not in self._removed and self._removed.isdisjoint(ancestors(path))

    def _learn(self) -> None:
        """Read what was written to the log since the last call."""
        self._closed = self._closed or self._log_ended is None or self._log_ended[0] != 0
        found = b""
        while piece := os.pread(self._log, 1 << 16, self._read):
            self._read += len(piece)
            found += piece
        self._remove(found.split(b"\0")[:-1])

    def _remove(self, paths: Iterable[bytes]) -> None:
        self._removed.update(paths)
        self.overflowed = self.overflowed or len(self._removed) > MOST

    def _write(self, paths: bytes) -> None:
        """Write to the log; if that fails, the restore ends in both processes, and the comparison does the rest."""
        try:
            complete = os.write(self._log, paths) == len(paths)
        except OSError:
            complete = False
        if not complete:
            self._end_log()
            self.overflowed = True

    def _end_log(self) -> None:
        """Have the forked process, if there is one, admit nothing any more."""
        if self._log_ended is not None:
            self._log_ended[0] = 1


def _is_own(path: bytes) -> bool:
    """Return True for the directory of the ready file, what is in it, and temporaries."""
    return is_within(path, b".replicator") or any(map(is_temporary, path.split(b"/")))
