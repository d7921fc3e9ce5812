"""The daemon's status for all HTTP clients together: made at most once a second, however many ask."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

MAX_AGE = 1.0
"""Seconds for which a snapshot is used."""

WITHIN = 3.0
"""Seconds within which the status must be known. Below the 10 s after which Prometheus gives up a scrape."""


Convert = Callable[[dict[str, Any]], bytes]


class Snapshot(NamedTuple):
    """The status at one time.

    Attributes:
        status: what `replicator status --json` prints.
        taken: time of the loop's clock.
        converted: tasks that convert `status` for `Snapshots.converted`.
    """

    status: dict[str, Any]
    taken: float
    converted: dict[Convert, asyncio.Task[bytes]]


class Snapshots:
    """Takes snapshots.

    Args:
        status: returns the status.
    """

    def __init__(self, status: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        self._status = status
        # Not the loop's own threads: slow name servers may occupy all of them.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="http")
        self._latest: Snapshot | None = None
        self._taking: asyncio.Task[Snapshot] | None = None

    async def get(self) -> Snapshot:
        """Return a snapshot that is at most MAX_AGE old. Callers that wait at the same time get the same one.

        Raises:
            TimeoutError: after WITHIN. A later caller waits for the same attempt.
        """
        loop = asyncio.get_running_loop()
        if self._latest is not None and loop.time() - self._latest.taken < MAX_AGE:
            return self._latest
        if self._taking is None or self._taking.done():
            self._taking = loop.create_task(self._take(), name="http snapshot")
        async with asyncio.timeout(WITHIN):
            self._latest = await asyncio.shield(self._taking)
        return self._latest

    async def _take(self) -> Snapshot:
        taken = asyncio.get_running_loop().time()
        return Snapshot(await self._status(), taken, {})

    async def converted(self, convert: Convert) -> bytes:
        """Return `convert(status)` of a snapshot, called in a thread once for each snapshot: it takes milliseconds with a hundred frontends.

        Raises:
            TimeoutError: see `get`.
        """
        snapshot = await self.get()
        if (task := snapshot.converted.get(convert)) is None:
            task = asyncio.create_task(self._in_thread(convert, snapshot.status))
            snapshot.converted[convert] = task
        return await asyncio.shield(task)

    async def _in_thread(self, convert: Convert, status: dict[str, Any]) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(self._thread, convert, status)

    def close(self) -> None:
        """Stop an attempt that is running, and the thread."""
        if self._taking is not None:
            self._taking.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)


def as_json(status: dict[str, Any]) -> bytes:
    """Return the status as JSON: 150 KB with a hundred frontends."""
    return json.dumps(status, separators=(",", ":")).encode()
