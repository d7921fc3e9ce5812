"""Open paths below a tree's root without following symlinks.

Every component is opened with openat(O_NOFOLLOW) relative to the descriptor of its parent, so a directory that is replaced by a
symlink at any moment leads to an error and never out of the tree (rsync 3.5 does the same, after nine CVEs of this class). Directory
descriptors are cached, because the files of a batch usually share few directories. The cache is cleared between batches, so that a
directory that was moved away is soon looked up again.
"""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from typing import Optional

from replicator.errors import PathRefused
from replicator.model import is_within, parent, printable

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_NO_NAMES = (b"", b".", b"..")

CACHE_SIZE = 128
"""Directory descriptors held open: far below the usual limit of 1,024, and more directories than a batch of files touches."""


class Confined:
    """The files below one root.

    Args:
        root_fd: an open descriptor of the root directory; owned by this object from now on.
        unread: also accept directories that may be searched but not read; their descriptors (O_PATH) only serve to reach what is
            below them.
    """

    def __init__(self, root_fd: int, *, unread: bool = False) -> None:
        self.root_fd = root_fd
        self._unread = unread
        self._held: OrderedDict[bytes, int] = OrderedDict()

    @classmethod
    def open(cls, root: bytes, *, unread: bool = False) -> Confined:
        """Open the directory `root`; follow symlinks on the way to it, because the operator chose that path."""
        return cls(_open(root, _DIRECTORY & ~os.O_NOFOLLOW, None, unread=unread), unread=unread)

    def directory(self, path: bytes) -> int:
        """Return a descriptor of the directory `path`, valid until the next call of any method.

        Raises:
            PathRefused: a component is empty, `.` or `..`.
            OSError: ENOENT, ENOTDIR or ELOOP if there is no such directory; EACCES and others.
        """
        missing: list[bytes] = []
        at = path
        while at and at not in self._held:
            missing.append(at)
            at = parent(at)
        fd = self.root_fd
        if at:
            self._held.move_to_end(at)
            fd = self._held[at]
        while missing:  # a loop, because a tree may be deeper than Python's stack
            at = missing.pop()
            fd = _open(_leaf(at), _DIRECTORY, fd, unread=self._unread)
            self._held[at] = fd
            if len(self._held) > CACHE_SIZE:
                os.close(self._held.popitem(last=False)[1])
        return fd

    def locate(self, path: bytes) -> tuple[int, bytes]:
        """Return (descriptor of the parent directory, last component) of `path`.

        Raises:
            PathRefused: a component is empty, `.` or `..`.
            OSError: as for `directory`, about the parent.
        """
        return self.directory(parent(path)), _leaf(path)

    def lstat(self, path: bytes) -> os.stat_result:
        """Return the status of what is at `path`, without following a symlink. Raises OSError, PathRefused."""
        if not path:
            return os.fstat(self.root_fd)
        fd, name = self.locate(path)
        return os.stat(name, dir_fd=fd, follow_symlinks=False)

    def open_file(self, path: bytes) -> int:
        """Open a regular file for reading and return its descriptor, which the caller closes.

        O_NONBLOCK keeps the call from blocking on a FIFO that has replaced the file.

        Raises:
            PathRefused: it is not a regular file, or a component is empty, `.` or `..`.
            OSError: it cannot be opened.
        """
        at, name = self.locate(path)
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise PathRefused(f"not a regular file: {printable(path)}")
        return fd

    def forget(self, path: bytes) -> None:
        """Close descriptors held for `path` and below it, because it was moved or removed."""
        for held in [p for p in self._held if is_within(p, path)]:
            os.close(self._held.pop(held))

    def forget_all(self) -> None:
        """Close every held descriptor except the root's."""
        while self._held:
            os.close(self._held.popitem()[1])

    def close(self) -> None:
        """Close all descriptors."""
        self.forget_all()
        os.close(self.root_fd)


def _leaf(path: bytes) -> bytes:
    """Return the last component of a path; refuse an empty one, `.` and `..`, which O_NOFOLLOW does not stop."""
    name = path.rpartition(b"/")[2]
    if name in _NO_NAMES:
        raise PathRefused(f"not a path below a root: {printable(path)}")
    return name


def _open(name: bytes, flags: int, at: Optional[int], *, unread: bool) -> int:
    """Open a directory; with `unread`, also one that may be searched but not read."""
    try:
        return os.open(name, flags, dir_fd=at)
    except PermissionError:
        if not unread:
            raise
        return os.open(name, flags | os.O_PATH, dir_fd=at)
