"""A lock for the threads of an agent, and of the second process that a restore starts."""

from __future__ import annotations

import fcntl
import os
import threading


class SharedLock:
    """A context manager that one thread at a time can be in, in this process and, after `share`, in those that it forks."""

    def __init__(self) -> None:
        self._threads = threading.Lock()
        self._file = -1

    def __enter__(self) -> None:
        self._threads.acquire()
        if self._file >= 0:
            fcntl.lockf(self._file, fcntl.LOCK_EX)  # the kernel releases it when a process ends

    def __exit__(self, *_: object) -> None:
        if self._file >= 0:
            fcntl.lockf(self._file, fcntl.LOCK_UN)
        self._threads.release()

    def share(self) -> None:
        """Include processes that are forked from now on; call it with the lock held, which remains held.

        Raises:
            OSError, AttributeError: this system, or Python, has no anonymous files.
        """
        if self._file < 0:
            self._file = os.memfd_create("replicator-lock")
            fcntl.lockf(self._file, fcntl.LOCK_EX)
