"""Reads large files beside everything else, so that no other file waits for them; only then are they looked at.

There are two lanes, each with one file at a time and the smallest first: a huge file, which may take an hour, delays no file
that takes seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from replicator.engine.ingest.contents import HUGE
from replicator.engine.ingest.scan_result import LargeFile

MOST_AHEAD = 2
"""Large files of a lane that wait, read, for their look: each may carry 4 MiB of a delta and its signature."""

LANES = 2
"""Files read at a time."""


class BackgroundReader:
    """The large files of one tree.

    Args:
        read: reads one; told its path, and whether a version must be taken even if a writer has it open.
        wake: called when one has been read, and `look` has something to do.
    """

    def __init__(
        self, read: Callable[[bytes, bool], Awaitable[None]], wake: Callable[[], None]
    ) -> None:
        self._lanes = tuple(_Lane(read, wake) for _ in range(LANES))

    def __len__(self) -> int:
        return sum(len(lane.wanted) for lane in self._lanes)

    def __contains__(self, path: object) -> bool:
        return any(path in lane.wanted for lane in self._lanes)

    def want(self, file: LargeFile) -> None:
        """Have a file read, and looked at then."""
        lane = self._lanes[file.size > HUGE]
        for other in self._lanes:
            if other is not lane and file.path not in other.reading:
                other.forget(file.path)
        lane.wanted[file.path] = file
        lane.to_read.set()

    async def run(self) -> None:
        """Read until cancelled.

        Raises:
            SourceError: the tree is not read any more.
        """
        lanes = [asyncio.ensure_future(lane.run()) for lane in self._lanes]
        try:
            await asyncio.gather(*lanes)
        finally:
            for lane in lanes:
                lane.cancel()

    async def look(self, look: Callable[[bytes], Awaitable[None]]) -> None:
        """Have everything looked at that has been read."""
        for lane in self._lanes:
            while lane.read:
                try:
                    await look(lane.take())
                finally:
                    lane.to_read.set()


class _Lane:
    """Files that are read one after the other.

    Attributes:
        wanted: the files that are to be read, and those that were read and not looked at yet.
        reading: the path that is being read.
        read: the paths that were read, in that order.
        to_read: set when there may be something to read.
    """

    def __init__(
        self, read: Callable[[bytes, bool], Awaitable[None]], wake: Callable[[], None]
    ) -> None:
        self.wanted: dict[bytes, LargeFile] = {}
        self.reading: set[bytes] = set()
        self.read: list[bytes] = []
        self.to_read = asyncio.Event()
        self._read_one = read
        self._wake = wake

    def forget(self, path: bytes) -> None:
        """Do not read a file: it belongs to another lane now."""
        if path not in self.read:
            self.wanted.pop(path, None)

    def take(self) -> bytes:
        """Return the path that was read first; it is the caller's business from here on."""
        path = self.read.pop(0)
        del self.wanted[path]
        return path

    async def run(self) -> None:
        """Read until cancelled; see BackgroundReader.run."""
        while True:
            unread = [file for path, file in self.wanted.items() if path not in self.read]
            if not unread or len(self.read) >= MOST_AHEAD:
                self.to_read.clear()
                await self.to_read.wait()
                continue
            file = min(unread, key=lambda one: one.size)
            self.reading = {file.path}
            try:
                await self._read_one(file.path, file.force)
            finally:
                self.reading = set()
            self.read.append(file.path)
            self._wake()
