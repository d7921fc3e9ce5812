"""Reads large files in the background, so that no other file waits for them; each is checked after it was read.

There are two queues. Each reads one file at a time, the smallest first: a huge file, which may take an hour, does not delay files
that take seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

from replicator.engine.ingest.contents import HUGE
from replicator.engine.ingest.scan_result import LargeFile

MOST_FINISHED = 2
"""Files of a queue that were read and wait for their check: each may hold 4 MiB of a delta and its signature."""

QUEUES = 2
"""Number of queues, and of files that are read at the same time."""


class BackgroundReader:
    """The large files of one tree.

    Args:
        read: reads one file. Its arguments: the path, and True if a version must be taken even if a process has it open for writing.
        wake: called after a file was read: `check_finished` has something to do.
    """

    def __init__(
        self, read: Callable[[bytes, bool], Awaitable[None]], wake: Callable[[], None]
    ) -> None:
        self._queues = tuple(_Queue(read, wake) for _ in range(QUEUES))

    def __len__(self) -> int:
        return sum(len(queue.files) for queue in self._queues)

    def __iter__(self) -> Iterator[bytes]:
        return (path for queue in self._queues for path in queue.files)

    def __contains__(self, path: object) -> bool:
        return any(path in queue.files for queue in self._queues)

    def add(self, file: LargeFile) -> None:
        """Queue a file to be read, and then checked."""
        queue = self._queues[file.size > HUGE]
        for other in self._queues:
            if other is not queue and file.path not in other.reading:
                other.remove(file.path)
        queue.files[file.path] = file
        queue.changed.set()

    async def run(self) -> None:
        """Read until cancelled.

        Raises:
            SourceError: the tree is not read any more.
        """
        tasks = [asyncio.ensure_future(queue.run()) for queue in self._queues]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def check_finished(self, check: Callable[[bytes], Awaitable[None]]) -> None:
        """Call `check` with each path that was read."""
        for queue in self._queues:
            while queue.finished:
                try:
                    await check(queue.take())
                finally:
                    queue.changed.set()


class _Queue:
    """Files that are read one after the other.

    Attributes:
        files: the files to read, and those that were read and not checked yet.
        reading: the path that is being read.
        finished: the paths that were read, in that order.
        changed: set when a file was added or taken.
    """

    def __init__(
        self, read: Callable[[bytes, bool], Awaitable[None]], wake: Callable[[], None]
    ) -> None:
        self.files: dict[bytes, LargeFile] = {}
        self.reading: set[bytes] = set()
        self.finished: list[bytes] = []
        self.changed = asyncio.Event()
        self._read = read
        self._wake = wake

    def remove(self, path: bytes) -> None:
        """Remove a file that is in the other queue now, unless it was read already."""
        if path not in self.finished:
            self.files.pop(path, None)

    def take(self) -> bytes:
        """Remove and return the path that was read first."""
        path = self.finished.pop(0)
        del self.files[path]
        return path

    async def run(self) -> None:
        """Read until cancelled; see BackgroundReader.run."""
        while True:
            unread = [file for path, file in self.files.items() if path not in self.finished]
            if not unread or len(self.finished) >= MOST_FINISHED:
                self.changed.clear()
                await self.changed.wait()
                continue
            file = min(unread, key=lambda one: one.size)
            self.reading = {file.path}
            try:
                await self._read(file.path, file.force)
            finally:
                self.reading = set()
            self.finished.append(file.path)
            self._wake()
