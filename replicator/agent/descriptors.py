"""Small acts on open descriptors."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from contextlib import contextmanager, suppress
from typing import Callable, Iterator, Union

_READ_SIZE = 1 << 20


@contextmanager
def keeping_time(directory: int) -> Iterator[None]:
    """Put a directory's time back after a change in it that belongs to no frame of its own.

    A file that arrived in many frames ends in a directory that was settled long ago, and may have been renamed since.
    Best effort: the directory may be another user's, and there may be no descriptor left; neither undoes the change.
    """
    try:
        held = os.dup(directory)
    except OSError:
        yield
        return
    try:
        mtime_ns = os.fstat(held).st_mtime_ns
        yield
        with suppress(OSError):
            os.utime(handle(held), ns=(mtime_ns, mtime_ns))
    finally:
        os.close(held)


def handle(fd: int) -> Union[int, str]:
    """Return what os.chmod and the like take for a directory: its descriptor, or a name if that allows no access."""
    if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_PATH:
        return f"/proc/self/fd/{fd}"
    return fd


def write_all(fd: int, data: memoryview) -> None:
    """Write all of `data`; os.write may take less."""
    while data:
        data = data[os.write(fd, data) :]


def digest_of(fd: int, between: Callable[[], None]) -> bytes:
    """Return the SHA-256 of a whole file; `between` is called before each piece, and may raise to end it."""
    digest = hashlib.sha256()
    offset = 0
    while True:
        between()
        piece = os.pread(fd, _READ_SIZE, offset)
        if not piece:
            return digest.digest()
        digest.update(piece)
        offset += len(piece)


def sweep(at: int, name: bytes) -> None:
    """Remove a temporary whose agent is gone; called with (descriptor of its directory, name).

    A symlink cannot be locked; a temporary one exists for microseconds, so one that a listing meets is stale.
    """
    with suppress(OSError), keeping_time(at):
        if stat.S_ISLNK(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=at)
            return
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(name, dir_fd=at)
        finally:
            os.close(fd)
