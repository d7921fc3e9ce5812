"""Reads large files beside everything else, so that nobody waits for them; only then are they looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

MOST_AHEAD = 2
"""Large files that wait, read, for their look: each may carry 4 MiB of a delta and its signature."""


class ReadAhead:
    """The large files of one tree, in the order in which they were met.

    Args:
        read: reads one; told its path, and whether a version must be taken even if a writer has it open.
        wake: called when one has been read, and `look` has something to do.
    """

    def __init__(
        self, read: Callable[[bytes, bool], Awaitable[None]], wake: Callable[[], None]
    ) -> None:
        self._read_one = read
        self._wake = wake
        self._wanted: dict[bytes, bool] = {}
        self._read: list[bytes] = []
        self._to_read = asyncio.Event()

    def __len__(self) -> int:
        return len(self._wanted)

    def __contains__(self, path: object) -> bool:
        return path in self._wanted

    def want(self, path: bytes, *, force: bool) -> None:
        """Have a file read, and looked at then."""
        self._wanted[path] = force
        self._to_read.set()

    async def run(self) -> None:
        """Read one after the other, until cancelled.

        Raises:
            SourceError: the tree is not read any more.
        """
        while True:
            unread = [path for path in self._wanted if path not in self._read]
            if not unread or len(self._read) >= MOST_AHEAD:
                self._to_read.clear()
                await self._to_read.wait()
                continue
            await self._read_one(unread[0], self._wanted[unread[0]])
            self._read.append(unread[0])
            self._wake()

    async def look(self, look: Callable[[bytes], Awaitable[None]]) -> None:
        """Have everything looked at that has been read."""
        while self._read:
            path = self._read.pop(0)
            del self._wanted[path]
            try:
                await look(path)
            finally:
                self._to_read.set()
