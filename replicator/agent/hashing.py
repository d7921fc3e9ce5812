"""A SHA-256 that large pieces do not wait for: hashlib lets go of the interpreter, so a thread hashes while the disk is written.

Of a delta's application half is the digest that makes it safe; with a second core that half costs next to nothing.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING, Any, Optional, Union

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

WORTHWHILE = 128 << 10
"""Bytes from which on handing a piece over (30 us) costs less than it spares (100 us)."""


class Sha256:
    """SHA-256 of the pieces given to it, in their order; at most one piece is hashed behind the caller's back."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._behind: Optional[Future[Any]] = None

    def update(self, piece: Union[bytes, memoryview]) -> None:
        """Add the next bytes, which must not change until the next call has returned."""
        self._wait()
        helper = _helper() if len(piece) >= WORTHWHILE else None
        if helper is None:
            self._hash.update(piece)
        else:
            self._behind = helper.submit(self._hash.update, piece)

    def digest(self) -> bytes:
        """Return the digest of all that was added."""
        self._wait()
        return self._hash.digest()

    def _wait(self) -> None:
        if self._behind is not None:
            self._behind.result()
            self._behind = None


@cache
def _helper() -> Optional[ThreadPoolExecutor]:
    """Return one thread, which most agents never need (its import alone takes 10 ms); None where no more are allowed."""
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(1)
    try:
        pool.submit(int).result()  # starts it
    except RuntimeError:
        return None
    return pool
