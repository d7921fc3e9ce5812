"""What of one frontend must be compared anew: single directories, or everything."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from replicator.core.debts import Key
from replicator.model import is_below

DOUBTS = 1000
"""Directories in doubt at which everything is compared instead: each costs a round trip."""


class Doubts:
    """Collects what is in doubt, until it has been compared."""

    def __init__(self) -> None:
        self._directories: dict[Key, None] = {}
        self._comparing: list[Key] = []
        self._added = asyncio.Event()
        self._wanted = asyncio.Event()
        self._poked = asyncio.Event()

    def __bool__(self) -> bool:
        """True while a directory is in doubt, or anything is being compared."""
        return bool(self._directories or self._comparing)

    def touch(self, key: Key) -> bool:
        """Return True if anything at, below or above a path is in doubt, or is being compared."""
        return any(
            one.tree == key.tree and _related(one.path, key.path)
            for one in (*self._directories, *self._comparing)
        )

    def directory(self, key: Key) -> None:
        """What the frontend holds below a directory is in doubt."""
        self._directories[key] = None
        self._added.set()
        if len(self._directories) > DOUBTS:
            self._directories.clear()
            self.everything()

    def everything(self) -> None:
        """All that the frontend holds is in doubt, or a person wants it to be compared."""
        self._wanted.set()
        self._poked.set()

    async def next_directory(self) -> Key:
        """Wait for a directory, and return it; it is the caller's business from here on."""
        while not self._directories:
            self._added.clear()
            await self._added.wait()
        key = next(iter(self._directories))
        del self._directories[key]
        return key

    @contextmanager
    def comparing(self, directory: Key) -> Iterator[None]:
        """A directory is being compared; until that is done it is in doubt."""
        self._comparing.append(directory)
        try:
            yield
        finally:
            self._comparing.remove(directory)

    def settling(self) -> None:
        """A comparison of everything begins, and answers whoever has wanted one until now."""
        self._wanted.clear()

    async def of_everything(self) -> None:
        """Wait until everything shall be compared."""
        await self._wanted.wait()

    async def poked(self, within: float) -> None:
        """Wait until somebody wants everything to be compared from now on, but no longer than `within` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                self._poked.clear()
                await self._poked.wait()


def _related(one: bytes, other: bytes) -> bool:
    return one == other or is_below(one, other) or is_below(other, one)
