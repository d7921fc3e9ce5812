"""Allow only the newest agent that a backend has started for a tree to change it.

A backend whose connection is silent closes it and starts another agent. Frames that it sent before may still reach the old agent,
from a pipe or in packets that a network delivers late, and must not undo what the new agent has done since. So each agent takes a
number above those of all running agents, and reserves it with a lock on the byte at that offset of a shared file. Before its first
change it locks a second byte, in a range of its own. An agent that finds a lock above its number in that range ends. The kernel
releases locks when the process ends, however it ends.

Only the agent's user can open the lock file, which lies in memory and outside of all trees. A target directory would not do: every
user of the frontend who can open it can lock it.
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
"""C's struct flock: type, whence, start, length, process id."""

# Locks of the open file description: any close() of the same file would release a lock of the process.
_GET = getattr(fcntl, "F_OFD_GETLK", 36)
_SET = getattr(fcntl, "F_OFD_SETLK", 37)

NUMBERS = 1 << 20
"""Numbers for the agents of one tree and backend: a new agent takes the next one above those of running agents."""

_RESERVED = 1 << 61
"""Offset of the reserved numbers; `FencingToken._first`, where agents lock before their first change, is below it."""

_LOWEST = NUMBERS // 2
"""Lowest number. Agents of the release before, which reserved nothing, count from 1: they have lower numbers, also before they lock."""

MAX_ALIVE = 1000
"""Running agents of one tree and backend: sshd does not start more for one client."""


class Fenced(Exception):
    """Raised when a newer agent has taken over: this one must not change anything any more."""


def open_locks() -> int:
    """Open the lock file of this user's agents, and return its descriptor; -1 if there is none that is safe to use.

    Only root can create a file in /run; in /dev/shm no user can remove or rename the file of another. A file that another user
    has created under that name, in order to lock it, is not used.
    """
    user = os.geteuid()
    shared = "/dev/shm"  # noqa: S108  # a file of another user is rejected below
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


class FencingToken:
    """Tells whether this agent is still the newest for its backend and directory.

    Without a lock file, or where locking fails, every agent counts as the newest.

    Args:
        locks: descriptor of the lock file, from `open_locks`; owned by this object from now on.
        lineage: identifies the backend and the directory; agents with another lineage are ignored.

    Raises:
        Fenced: too many agents are running.
    """

    def __init__(self, locks: int, lineage: bytes) -> None:
        self._fd = locks
        digest = hashlib.sha256(lineage).digest()
        # Each lineage has a range of 2**20 offsets, chosen by 40 bits of its hash, and below the limit of offsets (2**63).
        self._first = (int.from_bytes(digest[:5], "big") + 1) * NUMBERS
        self._number = _LOWEST
        self._held = False
        self._possible = locks >= 0
        for _ in range(MAX_ALIVE):
            # An agent that reserves nothing may have started after one with a reservation, and have a higher number.
            others = [self._at_or_above(self._number, place) for place in (_RESERVED, 0)]
            taken = [other for other in others if other is not None]
            if taken:
                self._number = max(taken) + 1
            elif not self._possible or self._lock(fcntl.F_WRLCK, _RESERVED):
                return
        raise Fenced("too many agents of the same backend serve this tree")

    def check(self) -> None:
        """Verify that this agent may change its tree now; the first call takes over from older agents.

        Raises:
            Fenced: a newer agent has taken over.
        """
        if self._possible and not self._held:
            self._held = self._lock(fcntl.F_RDLCK)
        self.look()

    def look(self) -> None:
        """Raise Fenced if a newer agent has taken over; do not take over from older ones."""
        if self._at_or_above(self._number) is not None:
            raise Fenced("a newer agent of the same backend serves this tree")

    def check_lock(self) -> None:
        """Verify that newer agents can still see this agent's lock.

        Raises:
            Fenced: the lock file was removed; a newer agent may hold its lock on another file.
        """
        if self._held and os.fstat(self._fd).st_nlink == 0:
            raise Fenced("the lock file of the agents was removed")

    def _lock(self, kind: int, place: int = 0) -> bool:
        """Lock the byte of this agent's number; return False if another agent was faster, or locking is not possible."""
        try:
            fcntl.fcntl(self._fd, _SET, self._range(kind, place + self._number, 1))
        except (BlockingIOError, PermissionError):  # fcntl(2): EAGAIN or EACCES
            return False
        except OSError:
            self._possible = False
            return False
        return True

    def _at_or_above(self, number: int, place: int = 0) -> Optional[int]:
        """Return the number of another agent that is `number` or above; None if there is none."""
        if not self._possible:
            return None
        if number >= NUMBERS:
            raise Fenced("the numbers of agents are used up")
        asked = self._range(fcntl.F_WRLCK, place + number, NUMBERS - number)
        try:
            kind, _, start, _, _ = struct.unpack(_FLOCK, fcntl.fcntl(self._fd, _GET, asked))
        except OSError:
            self._possible = False
            return None
        return None if kind == fcntl.F_UNLCK else max(start - place - self._first, number)

    def _range(self, kind: int, number: int, length: int) -> bytes:
        return struct.pack(_FLOCK, kind, 0, self._first + number, length, 0)


class FencingTokens:
    """One fencing token for each root directory that this agent has opened.

    An agent that opens a directory as several trees uses one token for all of them, because it must not be fenced by itself.

    Args:
        lineage: identifies the backend.
        locks: descriptor from `open_locks`, which the caller keeps; None: call `open_locks`.
    """

    def __init__(self, lineage: bytes = b"", locks: Optional[int] = None) -> None:
        self._lineage = lineage
        self._locks = open_locks() if locks is None else locks
        self._made: dict[tuple[int, int], FencingToken] = {}

    def of(self, root_fd: int) -> FencingToken:
        """Return the token of the directory that is open as `root_fd`."""
        status = os.fstat(root_fd)
        root = status.st_dev, status.st_ino
        if root not in self._made:
            locks = -1 if self._locks < 0 else os.dup(self._locks)
            self._made[root] = FencingToken(locks, b"%d:%d:%b" % (*root, self._lineage))
        return self._made[root]
