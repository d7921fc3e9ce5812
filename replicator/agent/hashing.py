"""A SHA-256 that hashes large pieces in a thread, while the caller writes them to the disk.

hashlib releases the interpreter lock. Half of the time to apply a delta is the digest that verifies it; with a second core, that
half costs next to nothing.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from typing import TYPE_CHECKING, Any, Optional, Union

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

WORTHWHILE = 128 << 10
"""Bytes from which the thread is used: handing over a piece takes 30 us, hashing this many bytes 100 us."""


class Sha256:
    """SHA-256 of pieces, in the order in which they are added; at most one piece at a time is hashed in the background."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._behind: Optional[Future[Any]] = None

    def update(self, piece: Union[bytes, memoryview]) -> None:
        """Add the next bytes; the caller must not change them until its next call of a method has returned."""
        self._wait()
        helper = helper_thread() if len(piece) >= WORTHWHILE else None
        if helper is None:
            self._hash.update(piece)
        else:
            self._behind = helper.submit(self._hash.update, piece)

    def digest(self) -> bytes:
        """Return the digest of everything that was added."""
        self._wait()
        return self._hash.digest()

    def _wait(self) -> None:
        if self._behind is not None:
            self._behind.result()
            self._behind = None


@cache
def helper_thread() -> Optional[ThreadPoolExecutor]:
    """Return a pool of one thread; None where the process may not start one.

    Most agents never need it, and its import takes 10 ms.
    """
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(1)
    try:
        pool.submit(int).result()  # starts the thread
    except RuntimeError:
        return None
    return pool


# A forked process has no copy of the thread.
os.register_at_fork(after_in_child=helper_thread.cache_clear)
