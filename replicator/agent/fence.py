"""Of the agents of one tree that the same backend has started, only the newest may change it.

A backend that hears nothing hangs up and connects anew. What it had sent until then may still reach the old agent, in a pipe
or in packets that a network gives back late, and must not undo what the new one has done since. So each agent has a number,
above those of all that are there, and says it with a lock on the root directory: nothing is written, and it goes when the
process goes, however it ends. Whoever sees a higher number than its own ends.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from typing import Optional

_FLOCK = "hhqqi"
"""struct flock: type, whence, start, length, process."""

# Locks of an open file, not of the process: any close() of the same directory would release the latter.
_GET = getattr(fcntl, "F_OFD_GETLK", 36)
_SET = getattr(fcntl, "F_OFD_SETLK", 37)


class Fenced(Exception):
    """Raised when a newer agent has taken over: this one must not do anything any more."""


class Fence:
    """Says whether this agent is still the newest of its kind.

    Where directories cannot be locked (NFS, or a root that may not be read) it always says yes.

    Args:
        root_fd: the tree's root, held for as long as the tree is open.
        lineage: who is served; agents of others are none of our business.
    """

    def __init__(self, root_fd: int, lineage: bytes) -> None:
        self._fd = root_fd
        self._first = (zlib.crc32(lineage) >> 1) << 32
        self._number = 1
        self._held = False
        self._possible = True
        while (other := self._at_or_above(self._number)) is not None:
            self._number = other + 1

    def check(self) -> None:
        """Return if this agent may change its tree now; from the first time on, no older one may.

        Raises:
            Fenced: a newer one has changed it already.
        """
        if self._possible and not self._held:
            self._lock()
        self.look()

    def look(self) -> None:
        """Check, but take over from nobody."""
        if self._at_or_above(self._number) is not None:
            raise Fenced("a newer agent of the same backend serves this tree")

    def _lock(self) -> None:
        try:
            fcntl.fcntl(self._fd, _SET, self._range(fcntl.F_RDLCK, self._number, 1))
            self._held = True
        except OSError:
            self._possible = False

    def _at_or_above(self, number: int) -> Optional[int]:
        """Return the number of some other agent from `number` on; None if there is none."""
        if not self._possible:
            return None
        asked = self._range(fcntl.F_WRLCK, number, (1 << 32) - number)
        try:
            kind, _, start, _, _ = struct.unpack(_FLOCK, fcntl.fcntl(self._fd, _GET, asked))
        except OSError:
            self._possible = False
            return None
        return None if kind == fcntl.F_UNLCK else max(start - self._first, number)

    def _range(self, kind: int, number: int, length: int) -> bytes:
        return struct.pack(_FLOCK, kind, 0, self._first + number, length, 0)


class Fences:
    """One fence for each root directory that this agent has opened, under however many numbers: it must not replace itself.

    Args:
        lineage: who is served.
    """

    def __init__(self, lineage: bytes = b"") -> None:
        self._lineage = lineage
        self._made: dict[tuple[int, int], Fence] = {}

    def of(self, root_fd: int) -> Fence:
        """Return the fence of the directory that is open as `root_fd`."""
        status = os.fstat(root_fd)
        root = status.st_dev, status.st_ino
        if root not in self._made:
            # A descriptor of its own: it outlives the tree for which it was made.
            self._made[root] = Fence(os.dup(root_fd), self._lineage)
        return self._made[root]
