"""Does what is due for one tree, as long as the pipeline follows its events."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from replicator.core.pace import Slice
from replicator.engine.ingest.barriers import Barriers
from replicator.engine.ingest.publisher import Publisher
from replicator.engine.ingest.worker import Worker
from replicator.engine.loop import loop_time
from replicator.engine.tree import Tree

MAINTENANCE = 1.0
"""Seconds between two calls of `Worker.maintain`."""


class WorkLoop:
    """Takes due work from the debouncer and has the worker do it.

    Args:
        tree: the tree.
        publisher: publishes what the worker finds.
        worker: does the work.
        barriers: are updated while no check is in progress.
        wake: set when something new may be due.

    Attributes:
        worked: set when work of the debouncer was done.
    """

    def __init__(
        self,
        tree: Tree,
        publisher: Publisher,
        worker: Worker,
        barriers: Barriers,
        wake: asyncio.Event,
    ) -> None:
        self.worked = asyncio.Event()
        self._debouncer = tree.debouncer
        self._publisher = publisher
        self._worker = worker
        self._barriers = barriers
        self._wake = wake
        self._mounts_confirmed = False
        # Set when no check is in progress, and replaced when the next one may begin.
        self._idle = asyncio.Event()
        self._idle.set()

    def confirm_mounts(self) -> None:
        """Accept the mounts of the source as they are, for an operator, as soon as no check is in progress."""
        self._mounts_confirmed = bool(self._worker.guard.reasons)
        self._wake.set()

    async def published(self) -> None:
        """Return when no check is in progress, so that all that was recorded before the call is published."""
        idle = self._idle
        self._wake.set()
        await idle.wait()

    async def run(self) -> None:
        """Do what is due, and wait until something is: work, finished background reads, rechecks, maintenance, held deletions.

        Raises:
            SourceError: the source is in doubt.
        """
        try:
            await self._run()
        finally:
            self._idle.set()

    async def _run(self) -> None:
        worker, publisher = self._worker, self._publisher
        maintenance = loop_time() + MAINTENANCE
        pace = Slice()
        while True:
            self._wake.clear()
            self._idle.set()
            self._idle = asyncio.Event()
            self._barriers.update()
            began = loop_time()
            work = self._debouncer.ready(began, pace.size)
            if work:
                used = publisher.cpu_seconds
                await worker.do(work)
                self.worked.set()
                pace.took(loop_time() - began, publisher.cpu_seconds - used)
            else:
                pace.rested()
            await worker.check_background_reads()
            await worker.recheck()
            if self._mounts_confirmed:
                self._mounts_confirmed = False
                await worker.confirm_mounts()
            if loop_time() >= maintenance:
                await worker.maintain()
                maintenance = loop_time() + MAINTENANCE
            if publisher.deletions.has_released:
                await publisher.release_deletions()
            elif not work:
                await self._wait(maintenance)

    async def _wait(self, maintenance: float) -> None:
        """Wait until something is due or `_wake` is set."""
        dues = (maintenance, self._debouncer.deadline(), self._worker.next_due())
        with suppress(TimeoutError):
            async with asyncio.timeout_at(min(due for due in dues if due is not None)):
                await self._wake.wait()
