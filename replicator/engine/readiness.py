"""Whether one frontend may have visitors: keeps its ready files true while it is connected."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog

from replicator.core.dirty import DirtySet
from replicator.engine.commons import Commons
from replicator.engine.link import Link
from replicator.engine.ready import Marker

log = structlog.get_logger()

TICK = 1.0
"""Seconds between two looks at the lag: a health check looks less often."""


class Readiness:
    """The ready files of all trees on one frontend, for as long as a connection lasts.

    Args:
        link: to the frontend.
        commons: the trees, and what they want.
        dirty: what the frontend is owed.
        machine: who it is; see engine.ready.
    """

    def __init__(self, link: Link, commons: Commons, dirty: DirtySet, machine: str) -> None:
        self._link = link
        self._commons = commons
        self._dirty = dirty
        self._machine = machine
        self._there: set[int] = set()
        self._filled = False
        self._wrong = False
        self._trouble = ""
        self._news = asyncio.Event()

    @property
    def ready(self) -> bool | None:
        """Whether the files are there; None if there shall be none."""
        markers = self._markers()
        return self._there >= set(markers) if markers else None

    async def begin(self, now: float) -> None:
        """Before anything else happens: what is there stays only if it is ours, and not too old."""
        markers = self._markers()
        self._there = {tree for tree, marker in markers.items() if await marker.is_there()}
        if not (self.ready and self._in_time(now)):
            await self._remove(markers)

    def filled(self) -> None:
        """A comparison of everything has ended, and what was different has been sent."""
        self._filled = True
        self._wrong = False
        self._news.set()

    def incomplete(self) -> None:
        """A comparison of everything has found that something is missing."""
        self._wrong = True
        self._news.set()

    async def keep(self) -> None:
        """Write and remove until cancelled."""
        while True:
            self._news.clear()
            markers = self._markers()
            if self._wanted(asyncio.get_running_loop().time()):
                await self._write({t: m for t, m in markers.items() if t not in self._there})
            else:
                await self._remove({t: m for t, m in markers.items() if t in self._there})
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK):
                    await self._news.wait()

    def _wanted(self, now: float) -> bool:
        if self._wrong or not self._in_time(now):
            return False
        # Who is out of service comes back only when nothing is refused that could be sent.
        return bool(self.ready) or (self._filled and not self._dirty.refusals())

    def _in_time(self, now: float) -> bool:
        since = self._dirty.lagging()
        lags = [plot.ready.max_lag for plot in self._commons.plots.values() if plot.ready]
        return since is None or not lags or now - since <= min(lags)

    def _markers(self) -> dict[int, Marker]:
        return {
            tree: Marker(self._link, tree, plot.territory.catalog, plot.ready.path, self._machine)
            for tree, plot in self._commons.plots.items()
            if plot.ready
        }

    async def _write(self, markers: dict[int, Marker]) -> None:
        for tree, marker in markers.items():
            reason = await marker.write(self._commons.pool)
            if not reason:
                self._there.add(tree)
            self._tell(reason, "ready")

    async def _remove(self, markers: dict[int, Marker]) -> None:
        for tree, marker in markers.items():
            reason = await marker.remove()
            self._there.discard(tree)
            self._tell(reason, "not ready")

    def _tell(self, trouble: str, what: str) -> None:
        if trouble and trouble != self._trouble:
            log.warning("ready file", machine=self._machine, wanted=what, reason=trouble)
        elif not trouble:
            log.info("frontend", machine=self._machine, state=what)
        self._trouble = trouble
