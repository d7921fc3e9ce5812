"""Deletes recorded paths after nothing was found there for the grace period; see `core.rechecks`.

What is below a large directory is deleted in portions, with checks of other paths in between: an upload does not wait until 200,000
records are deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from replicator.engine.ingest.catalog_writer import CatalogWriter
from replicator.engine.ingest.followups import FollowUps
from replicator.engine.ingest.publisher import Publisher, run_to_end
from replicator.engine.loop import loop_time
from replicator.engine.tree import Tree

DRAIN_PAUSE = 0.004
"""Seconds between two questions whether all events have been taken in."""

DRAIN_LIMIT = 0.1
"""Seconds to wait for that: taking in 1,000 events takes 20 ms."""


async def drained(is_drained: Callable[[float], bool], since: float) -> bool:
    """Wait until all events before a time have been taken in as hints; return False after DRAIN_LIMIT seconds."""
    loop = asyncio.get_running_loop()
    until = loop.time() + DRAIN_LIMIT
    while not is_drained(since):
        if loop.time() >= until:
            return False
        await asyncio.sleep(DRAIN_PAUSE)
    return True


class MissingPaths:
    """The missing paths of one tree.

    Args:
        tree: the tree.
        publisher: publishes the deletions.
        writer: deletes the records.
        follow_ups: schedules further checks.
        is_drained: returns True if all events before a time have been taken in as hints; see `ports.Watcher`.
    """

    def __init__(
        self,
        tree: Tree,
        publisher: Publisher,
        writer: CatalogWriter,
        follow_ups: FollowUps,
        is_drained: Callable[[float], bool],
    ) -> None:
        self._tree = tree
        self._publisher = publisher
        self._writer = writer
        self._follow_ups = follow_ups
        self._rechecks = follow_ups.rechecks
        self._is_drained = is_drained
        self._ripe: dict[bytes, float] = {}  # with the time of the check

    def found(self, paths: list[bytes], now: float, scanned_since: float | None = None) -> None:
        """Record that a check found nothing at some paths. Their grace period starts, unless it is over.

        Args:
            paths: the paths.
            now: the current time.
            scanned_since: if it was a scan, the time of the first event that it has answered.
        """
        for path in paths:
            since = scanned_since
            if since is None:
                since = self._tree.debouncer.answered_since(path, now)
            if self._rechecks.missing(path, now, since):
                self._ripe[path] = now

    def begin(self) -> None:
        """Forget what an earlier check has found that was given up before `delete_ripe`: its paths may exist again."""
        self._ripe.clear()

    async def delete_ripe(self, check_due: Callable[[], Awaitable[None]]) -> None:
        """Delete the paths whose grace period is over, unless an event about them may still come.

        Args:
            check_due: called between two portions of a large directory; checks what has become due.

        Raises:
            SourceError: the source is in doubt.
        """
        ripe, self._ripe = self._ripe, {}
        if not ripe:
            return
        is_drained = await drained(self._is_drained, max(ripe.values()))
        gone = [path for path in ripe if is_drained and not self._is_concerned(path)]
        parents = await self._publisher.in_thread(partial(self._tree.catalog.parents_among, gone))
        large = [path for path in parents if await self._delete_below(path, check_due)]
        gone = [path for path in gone if not self._is_concerned(path)]
        deleted: set[bytes] = set()
        if gone:
            # Between the portions of a large directory, `check_due` may have found any of them again.
            removed = self._writer.remove(gone, unsure=gone if large else ())
            found = await run_to_end(self._publisher.publish_next(removed, self._follow_ups))
            deleted.update([*found.gone, *found.forgotten] if found else [])
        self._restart({*ripe, *self._ripe} - deleted)

    async def _delete_below(
        self, directory: bytes, check_due: Callable[[], Awaitable[None]]
    ) -> bool:
        """Delete most of what is below a large directory, until an event about the directory comes; return False if it is small."""
        portions = self._writer.remove_below(directory)
        is_large = False
        while not self._is_concerned(directory):
            publishing = self._publisher.publish_next(portions, self._follow_ups, frames=False)
            if await run_to_end(publishing) is None:
                break
            is_large = True
            await check_due()
        return is_large

    def _is_concerned(self, path: bytes) -> bool:
        return self._tree.debouncer.concerns(path)

    def _restart(self, paths: Iterable[bytes]) -> None:
        """Start the grace period of paths again that were not deleted."""
        self._ripe.clear()
        for path in paths:
            since = self._rechecks.heard(path)
            self._rechecks.missing(path, loop_time(), since)
