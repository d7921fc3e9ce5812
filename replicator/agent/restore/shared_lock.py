"""A lock for the threads of an agent, and of the second process that a restore starts."""

from __future__ import annotations

import errno
import fcntl
import os
import threading


def anonymous_file() -> int:
    """Return the descriptor of a new file in memory, which forked processes share. Raises OSError if this system has none."""
    if not hasattr(os, "memfd_create"):  # a Python that was built for an old C library
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    return os.memfd_create("replicator")


class SharedLock:
    """A context manager that one thread at a time can be in, in this process and, after `share`, in those that it forks.

    A lock in memory excludes the other threads; after `share`, a POSIX lock of an anonymous file excludes the other process as well.
    The kernel releases it when a process ends. (A forked process would share a lock of the open file description.) No other descriptor
    of that file may ever be closed, because that would release the lock.
    """

    def __init__(self) -> None:
        self._threads = threading.Lock()
        self._file = -1

    def __enter__(self) -> None:
        self._threads.acquire()
        try:
            if self._file >= 0:
                fcntl.lockf(self._file, fcntl.LOCK_EX)
        except BaseException:
            self._threads.release()
            raise

    def __exit__(self, *_: object) -> None:
        try:
            if self._file >= 0:
                fcntl.lockf(self._file, fcntl.LOCK_UN)
        finally:
            self._threads.release()

    def share(self) -> None:
        """Include processes that are forked from now on.

        Call it, and fork, with the lock held: the copy of a lock that another thread holds would never be released.

        Raises:
            OSError: this system has no anonymous files.
        """
        if self._file < 0:
            file = anonymous_file()
            fcntl.lockf(file, fcntl.LOCK_EX)
            self._file = file
