"""Find the directories that are equal on a frontend and in the catalog by their digests, so that only the others are listed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

from replicator.engine.frontend.connection import Connection
from replicator.engine.frontend.listings import Walk
from replicator.engine.tree import Tree
from replicator.errors import ProtocolError
from replicator.model import MAX_DEPTH, ROOT, key, parent, printable
from replicator.wire.messages import Digests

MOST_OPENED, ROOM = 1000, 64 << 10
"""Directories that differ and are looked into one by one, and bytes of their paths; the others are listed with everything below them."""

MOST_ROWS = 100_000
"""Digests that are received for one comparison: 20 MB. If there are more, everything is listed."""

MOST_WALKED, TIMES = 10_000_000, 4
"""Limits of a walk, as those of a listing: see `engine.frontend.compare`."""


@dataclass
class Equal:
    """What is equal by its digest.

    Attributes:
        everything: the directory that is compared, with everything below it.
        job: the walk, for the request of a listing; 0: nothing is known to be equal.
        directories: the directories that are equal, and their digests. None of them lies below another.
    """

    everything: bool = False
    job: int = 0
    directories: dict[bytes, bytes] = field(default_factory=dict)


@dataclass
class _Level:
    """The directories of one depth that differ."""

    opened: list[bytes] = field(default_factory=list)
    whole: list[bytes] = field(default_factory=list)


async def find_equal(connection: Connection, tree: Tree, below: bytes, pool: Executor) -> Equal:
    """Return what is equal below a directory.

    Equal digests say the same as a listing without differences: each line is one that the frontend had at some time during the walk, and
    the catalog after the walk had ended. What changed in between was sent, or is dirty.

    Raises:
        ProtocolError: if the agent's answers are not what was asked for.
    """
    digests, bits = tree.catalog.digests, tree.mode_bits
    if below != ROOT and not digests.is_made(bits):
        return Equal()  # a listing of one directory costs less than reading the whole catalog
    walking = connection.walk(tree.number, below, bits, tree.reserved)
    if walking is None:
        return Equal()
    async with walking as walk:
        return await _Search(tree, below, pool, walk).run()


class _Search:
    """Descends where digests differ."""

    def __init__(self, tree: Tree, below: bytes, pool: Executor, walk: Walk) -> None:
        self._catalog = tree.catalog
        self._bits = tree.mode_bits
        self._below = below
        self._pool = pool
        self._walk = walk
        self._rows = self._opened = self._room = 0
        self._equal: dict[bytes, bytes] = {}

    async def run(self) -> Equal:
        """Return what is equal."""
        loop = asyncio.get_running_loop()
        theirs, walked = await self._walked()
        if not self._catalog.digests.is_made(self._bits):
            entries, _ = await loop.run_in_executor(self._pool, self._catalog.counts)
            if 2 * walked < entries:  # a new frontend
                return Equal()
        await self._refresh()
        ours = (await self._find([self._below])).get(self._below, b"")
        if ours and ours == theirs:
            return Equal(everything=True)
        level = _Level(opened=[self._below])
        for _ in range(MAX_DEPTH):
            if not (level.opened or level.whole):
                return Equal(job=self._walk.job, directories=self._equal)
            answer = await self._descend(level)
            if answer is None:
                break
            level = answer
        return Equal()

    async def _walked(self) -> tuple[bytes, int]:
        """Wait for the walk; return the digest of the directory, and the number of paths below it."""
        walked, most = 0, MOST_WALKED
        rows: list[tuple[bytes, bytes]] = []
        async for answer in self._walk.answer():
            walked += answer.walked
            rows += answer.rows
            if walked > most:
                counts = asyncio.get_running_loop().run_in_executor(
                    self._pool, self._catalog.counts
                )
                most = max(most, TIMES * (await counts)[0])
                if walked > most:
                    raise ProtocolError(f"the agent walks {walked} paths, and no end")
            if len(rows) > 1 or (answer.end and [path for path, _ in rows] != [self._below]):
                raise ProtocolError(
                    "the agent answers with other digests than that of the directory"
                )
        return rows[0][1], walked

    async def _descend(self, level: _Level) -> _Level | None:
        """Request the digests in the opened directories; return those that differ, or None if there are too many."""
        below = _Level()
        asked, last = set(level.opened), b""
        async for answer in self._answers(level):
            self._rows += len(answer.rows)
            if self._rows > MOST_ROWS:
                return None
            for path, _ in answer.rows:
                if key(path) <= last or parent(path) not in asked or not path:
                    raise ProtocolError(
                        f"the agent's digests are out of order at {printable(path)}"
                    )
                last = key(path)
            self._sort(answer.rows, await self._find([path for path, _ in answer.rows]), below)
        return below

    async def _answers(self, level: _Level) -> AsyncIterator[Digests]:
        for whole in _parts(level.whole):
            async for answer in self._walk.descend((), whole):
                yield answer
        async for answer in self._walk.descend(level.opened, ()):
            yield answer

    def _sort(
        self, rows: Sequence[tuple[bytes, bytes]], known: Mapping[bytes, bytes], into: _Level
    ) -> None:
        """Sort directories into those that are equal, those to be opened, and those to be listed with everything below them."""
        for path, theirs in rows:
            ours = known.get(path)
            if ours and ours == theirs:
                self._equal[path] = ours
            elif ours is None or self._opened >= MOST_OPENED or self._room >= ROOM:
                into.whole.append(path)
            else:
                into.opened.append(path)
                self._opened += 1
                self._room += len(path)

    async def _find(self, paths: list[bytes]) -> dict[bytes, bytes]:
        find = self._catalog.digests.find
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, find, paths, self._bits)

    async def _refresh(self) -> None:
        """Bring the catalog's digests up to date with all that was recorded before this call."""
        loop, digests = asyncio.get_running_loop(), self._catalog.digests
        number = await loop.run_in_executor(self._pool, digests.begin, self._bits)
        while not await loop.run_in_executor(self._pool, digests.refresh, number):
            pass


def _parts(paths: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Split paths into lists that fit into a frame."""
    part: list[bytes] = []
    room = ROOM
    for path in paths:
        part.append(path)
        room -= len(path)
        if room <= 0 or len(part) == MOST_OPENED:
            yield part
            part, room = [], ROOM
    if part:
        yield part
