"""Of the agents of one tree that the same backend has started, only the newest may change it.

A backend that hears nothing hangs up and connects anew. What it had sent until then may still reach the old agent, in a pipe
or in packets that a network gives back late, and must not undo what the new one has done since. So each agent has a number,
above those of all that are there, and says it with a lock: it goes when the process goes, however it ends. Whoever sees a
higher number than its own ends.

The locks are taken on a file that only the agent's user can open, in memory and outside of all trees. A target is no place for
them: its directory can be opened, and so locked, by every user of the frontend.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import struct
from contextlib import suppress
from typing import Optional

_FLOCK = "hhqqi"
"""struct flock: type, whence, start, length, process."""

# Locks of an open file, not of the process: any close() of the same file would release the latter.
_GET = getattr(fcntl, "F_OFD_GETLK", 36)
_SET = getattr(fcntl, "F_OFD_SETLK", 37)

NUMBERS = 1 << 20
"""Numbers that the agents of one tree and backend may have: each new one takes the next above those that are alive."""

MAX_ALIVE = 1000
"""Agents of one tree and backend that may be alive: sshd does not start more for one client."""


class Fenced(Exception):
    """Raised when a newer agent has taken over: this one must not do anything any more."""


def open_locks() -> int:
    """Open the file that the agents of this user are locked on, and return its descriptor; -1 where there can be none.

    Only root can put a file into /run; in /dev/shm nobody can remove or rename the file of somebody else. One that another user
    has put there, to be locked by him, is not used.
    """
    user = os.geteuid()
    shared = "/dev/shm"  # noqa: S108  # what somebody else has put there is not used
    for directory in ("/run", shared) if user == 0 else (shared,):
        with suppress(OSError):
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(f"{directory}/replicator-agents-{user}.lock", flags, 0o600)
            status = os.fstat(fd)
            private = status.st_uid == user and not status.st_mode & 0o077 and status.st_nlink == 1
            if stat.S_ISREG(status.st_mode) and private:
                return fd
            os.close(fd)
    return -1


class Fence:
    """Says whether this agent is still the newest of its kind.

    Where there is no file to lock it always says yes.

    Args:
        locks: descriptor of the file that is locked, from `open_locks`; owned by this object from now on.
        lineage: who is served, and which directory; agents of others are none of our business.

    Raises:
        Fenced: too many are alive.
    """

    def __init__(self, locks: int, lineage: bytes) -> None:
        self._fd = locks
        digest = hashlib.sha256(lineage).digest()
        self._first = (int.from_bytes(digest[:5], "big") + 1) * NUMBERS
        self._number = 1
        self._held = False
        self._possible = locks >= 0
        for _ in range(MAX_ALIVE):
            other = self._at_or_above(self._number)
            if other is None:
                return
            self._number = other + 1
        raise Fenced("too many agents of the same backend serve this tree")

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

    def check_lock(self) -> None:
        """Return if newer agents can still see this one.

        Raises:
            Fenced: somebody removed the file that is locked; a newer agent has made another.
        """
        if self._held and os.fstat(self._fd).st_nlink == 0:
            raise Fenced("the file that agents are locked on was removed")

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
        if number >= NUMBERS:
            raise Fenced("the numbers of agents are used up")
        asked = self._range(fcntl.F_WRLCK, number, NUMBERS - number)
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
        locks: descriptor from `open_locks`, which stays the caller's; without it, a new one.
    """

    def __init__(self, lineage: bytes = b"", locks: Optional[int] = None) -> None:
        self._lineage = lineage
        self._locks = open_locks() if locks is None else locks
        self._made: dict[tuple[int, int], Fence] = {}

    def of(self, root_fd: int) -> Fence:
        """Return the fence of the directory that is open as `root_fd`."""
        status = os.fstat(root_fd)
        root = status.st_dev, status.st_ino
        if root not in self._made:
            locks = -1 if self._locks < 0 else os.dup(self._locks)
            self._made[root] = Fence(locks, b"%d:%d:%b" % (*root, self._lineage))
        return self._made[root]
