"""Publishes what checks and scans found: encodes it once, and hands it to all frontends in order.

Encoding runs in the worker thread that did the check; `publish` is called on the event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import structlog

from replicator.engine.changes.encode import EncodedChanges
from replicator.engine.ingest.deletions import Deletions
from replicator.engine.ingest.encode_result import encode
from replicator.engine.ingest.followups import FollowUps
from replicator.engine.ingest.scan_result import ScanResult
from replicator.engine.loop import Pauses
from replicator.engine.tree import Tree
from replicator.errors import SourceError
from replicator.model import printable

log = structlog.get_logger()

T = TypeVar("T")


class Publisher:
    """Publishes the changes of one tree.

    Args:
        tree: the tree.
        pool: where blocking work runs.
        publish: called on the loop with each change, in order.

    Attributes:
        scanned: set when the first scan has read the whole source. Before that nothing is published: every frontend is compared with
            the catalog afterwards.
        deletions: holds deletions back until they are known not to be a mass deletion.
        cpu_seconds: CPU time of all checks until now.
    """

    def __init__(
        self,
        tree: Tree,
        pool: Executor,
        publish: Callable[[EncodedChanges], Awaitable[None] | None],
    ) -> None:
        self.scanned = asyncio.Event()
        self.deletions = Deletions(tree)
        self.cpu_seconds = 0.0
        self._tree = tree
        self._pool = pool
        self._publish = publish
        self._loop = asyncio.get_running_loop()

    async def in_thread(self, call: Callable[[], T]) -> T:
        """Run `call` in a worker thread.

        Raises:
            SourceError: the tree cannot be read at present, such as without descriptors (EMFILE).
        """
        try:
            return await self._loop.run_in_executor(self._pool, call)
        except OSError as error:
            reason = error.strerror or str(error)
            raise SourceError(
                f"The source {printable(self._tree.root)} cannot be read: {reason}."
            ) from error

    async def publish_next(
        self,
        results: Iterator[ScanResult],
        follow_ups: FollowUps,
        *,
        scanned: bool = False,
        frames: bool = True,
    ) -> ScanResult | None:
        """Have a worker thread produce and encode the next result; schedule its further checks, and publish it.

        Args:
            results: the results of a check or a scan.
            follow_ups: schedules the further checks.
            scanned: True for a scan.
            frames: False: each frontend marks the paths dirty, so that they are sent when there is room, after uploads.

        Returns:
            The result; None if there was none.

        Raises:
            SourceError: the source is in doubt.
        """
        encoded = await self.in_thread(partial(self._next_encoded, results))
        if encoded is None:
            return None
        found, changes = encoded
        await follow_ups.schedule(found, scanned=scanned)
        await self.publish(changes if frames else _without_frames(changes))
        if self.deletions.needs_decision:
            await self.in_thread(self.deletions.decide)
        return found

    def _next_encoded(
        self, results: Iterator[ScanResult]
    ) -> tuple[ScanResult, list[EncodedChanges]] | None:
        began = time.thread_time()
        found = next(results, None)
        encoded = None if found is None else (found, self.encode(found))
        self.cpu_seconds += time.thread_time() - began
        return encoded

    def encode(self, found: ScanResult) -> list[EncodedChanges]:
        """Return what to publish of a result, without the deletions that are held back; runs in a worker thread."""
        added = [update.record.path for update in found.updates if update.before is None]
        gone = self.deletions.admit(found.gone, self._loop.time(), added)
        return self._encode(replace(found, gone=gone))

    def _encode(self, found: ScanResult) -> list[EncodedChanges]:
        if not self.scanned.is_set():
            return []
        return list(encode(self._tree.number, found, compress=self._tree.compress))

    async def publish(self, changes: Iterable[EncodedChanges]) -> None:
        """Publish changes in order; let other tasks run every few milliseconds."""
        pauses = Pauses()
        changed = deleted = 0
        for encoded in changes:
            for part in encoded.parts:
                deleted += part.is_delete
                changed += not part.is_delete
                if part.is_delete:
                    self._log_deleted(part.key.path)
                    await pauses.pause()
            published = self._publish(encoded)
            if published is not None:
                await published
            await pauses.pause()
        if changed or deleted:
            tree = printable(self._tree.root)
            log.info("published", tree=tree, changed=changed, deleted=deleted)

    def _log_deleted(self, path: bytes) -> None:
        log.info(
            "deleted",
            path=printable(path),
            tree=printable(self._tree.root),
            reason="it was removed on the backend",
        )

    async def release_deletions(self) -> None:
        """Publish some of the deletions that were held back, if there are not too many; see `Deletions.has_released`.

        Raises:
            SourceError: the catalog cannot be read.
        """
        await run_to_end(self._release_deletions())

    async def _release_deletions(self) -> None:
        released = await self.in_thread(
            lambda: self._encode(ScanResult(gone=self.deletions.release()))
        )
        await self.publish(_without_frames(released))


def _without_frames(changes: list[EncodedChanges]) -> list[EncodedChanges]:
    """Return the changes without content, so that each frontend marks them dirty: they are sent after uploads, when there is room."""
    return [replace(encoded, frames=()) for encoded in changes]


async def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """Await `work`; if the caller is cancelled, finish it first: a change in the catalog that is not published would never be sent.

    Raises:
        CancelledError: the caller was cancelled; `work` has ended all the same.
    """
    task = asyncio.get_running_loop().create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # marks it as retrieved: the caller was cancelled and does not need it
        raise
