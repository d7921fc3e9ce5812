"""Helpers for open file descriptors."""

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
    """Restore a directory's modification time after a change in it that `Directories.settle` does not cover.

    For example, a file that arrives in many frames gets its name long after its directory was settled, and the directory may have
    been renamed since. Errors are ignored, because the change itself stands: the directory may belong to another user, or the
    process may have no descriptor left.
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
    """Return what os.chmod and os.utime accept for an open directory: its descriptor or, if opened with O_PATH, a path in /proc."""
    if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_PATH:
        return f"/proc/self/fd/{fd}"
    return fd


def write_all(fd: int, data: memoryview) -> None:
    """Write all of `data`; a single os.write may write less."""
    while data:
        data = data[os.write(fd, data) :]


def digest_of(fd: int, between: Callable[[], None]) -> bytes:
    """Return the SHA-256 of an open file, from its beginning; call `between` before each piece of 1 MiB, which may raise to stop."""
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
    """Remove the temporary `name`, in the directory open as `at`, unless a running agent holds a lock on it.

    A symlink cannot be locked. A temporary symlink exists for microseconds, so one that a listing finds is stale.
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
