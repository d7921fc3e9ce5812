"""Whether one frontend may have visitors: keeps its ready files true while it is connected."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress

import structlog

from replicator.core.dirty import DirtySet
from replicator.engine.context import Context
from replicator.engine.frontend.connection import Connection
from replicator.engine.frontend.ready_file import Marker
from replicator.engine.frontend.shortage import Shortage

log = structlog.get_logger()

TICK = 1.0
"""Seconds between two looks at the lag: a health check looks less often."""


class Readiness:
    """The ready files of all trees on one frontend, for as long as a connection lasts.

    Args:
        link: to the frontend.
        context: the trees, and what they want.
        dirty: what the frontend is owed.
        opened: the trees that the agent has opened, kept up to date by the caller.
        machine: who it is; see engine.ready.
    """

    def __init__(
        self,
        link: Connection,
        context: Context,
        dirty: DirtySet,
        opened: Collection[int],
        machine: str,
    ) -> None:
        self._link = link
        self._context = context
        self._shortage = Shortage(dirty, context)
        self._opened = opened
        self._machine = machine
        self._there: set[int] = set()
        self._filled: set[int] = set()
        self._wrong: set[int] = set()
        self._trouble = ""
        self._news = asyncio.Event()

    @property
    def ready(self) -> bool | None:
        """Whether the files are there; None if there shall be none."""
        wanted = {number for number, tree in self._context.trees.items() if tree.ready}
        return self._there >= wanted if wanted else None

    async def begin(self, now: float) -> None:
        """Before anything else happens: what is there stays only if it is ours, and not too old."""
        markers = self._markers()
        self._there = {tree for tree, marker in markers.items() if await marker.is_there()}
        for tree, marker in markers.items():
            if not (tree in self._there and await self._in_time(now)):
                await self._remove(tree, marker)

    def filled(self, tree: int) -> None:
        """A comparison of a whole tree has ended, and what was different has been sent."""
        self._filled.add(tree)
        self._wrong.discard(tree)
        self._news.set()

    def incomplete(self, tree: int) -> None:
        """A comparison of a whole tree has found that something is missing."""
        self._wrong.add(tree)
        self._news.set()

    def forget(self, tree: int) -> None:
        """A tree was removed: the frontend keeps its files, the ready file among them."""
        for known in (self._there, self._filled, self._wrong):
            known.discard(tree)

    async def keep(self) -> None:
        """Write and remove until cancelled."""
        while True:
            self._news.clear()
            in_time = await self._in_time(asyncio.get_running_loop().time())
            for tree, marker in self._markers().items():
                wanted = in_time and self._wanted(tree)
                if wanted and tree not in self._there:
                    await self._write(tree, marker)
                elif not wanted and tree in self._there:
                    await self._remove(tree, marker)
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK):
                    await self._news.wait()

    def _wanted(self, tree: int) -> bool:
        """Return True if a tree's ready file may be there. It speaks for the trees without a ready file as well."""
        silent = {number for number, one in self._context.trees.items() if not one.ready}
        needed = {tree, *silent}
        if tree in self._there:
            return not self._shortage.misses(needed & self._wrong)
        # A frontend that is out of service comes back only when it refuses nothing that others take.
        return needed <= self._filled - self._wrong and not self._shortage.refuses()

    async def _in_time(self, now: float) -> bool:
        self._shortage.look(now)
        lags = [tree.ready.max_lag for tree in self._context.trees.values() if tree.ready]
        return not lags or not await self._shortage.lags(now, min(lags), self._context.pool)

    def _markers(self) -> dict[int, Marker]:
        return {
            number: Marker(self._link, number, tree.catalog, tree.ready.path, self._machine)
            for number, tree in self._context.trees.items()
            if tree.ready and number in self._opened
        }

    async def _write(self, tree: int, marker: Marker) -> None:
        reason = await marker.write(self._context.pool)
        if not reason and tree in self._opened:
            self._there.add(tree)
        self._tell(reason, "ready")

    async def _remove(self, tree: int, marker: Marker) -> None:
        reason = await marker.remove()
        self._there.discard(tree)
        self._tell(reason, "not ready")

    def _tell(self, trouble: str, what: str) -> None:
        if trouble and trouble != self._trouble:
            log.warning("ready file", machine=self._machine, wanted=what, reason=trouble)
        elif not trouble:
            log.info("frontend", machine=self._machine, state=what)
        self._trouble = trouble
