"""Keep the base fresh in the background: publish trees that have changed, and remove garbage.

All of it runs in one thread, at a bounded rate of uploads and of CPU time. If the store fails, replication goes on; the publisher tries
again after growing delays, and `describe` says why.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import structlog

from replicator.base.index import IndexFailure
from replicator.base.last_error import LastError
from replicator.base.layout import pointer_name, shown
from replicator.base.offers import URL_LIFE, Offers
from replicator.base.prefix import Prefix
from replicator.base.prune import Pruned, prune
from replicator.base.publication import TreeBase
from replicator.base.schedule import Schedule, Tree
from replicator.base.work import Worker
from replicator.core.pace import Backoff
from replicator.errors import ReplicatorError, SourceError, StoreError
from replicator.ports import ObjectStore

log = structlog.get_logger()

T = TypeVar("T")

MARGIN = 600.0
"""Seconds that are added to the time for which a frontend may be restoring."""

PRUNE_EVERY = 3600.0

PRUNE_AGAIN = 600.0
"""Seconds until garbage is removed again after a failure, which keeps no tree from being published."""

IDLE = 50
"""Seconds until the next publication of a tree, at least, for each second of CPU time that one took: at most 2 % of a core."""

POLL = 1.0
"""Seconds between two checks of whether a tree is due."""

END_WITHIN = 5.0
"""Seconds that `close` waits for the thread; a hanging request ends later, or with the process."""


class Publisher:
    """Publishes the bases of all trees below one prefix.

    Args:
        store: the objects.
        identity: of the state directory.
        directory: where indices and manifests are made: the state directory.
        trees: returns the replicated trees.
        bandwidth: bytes per second of uploads.
        interval: seconds between two publications of a tree, at least.
        give_up: seconds that a restore may take.

    Attributes:
        offers: what frontends may restore from.
    """

    def __init__(
        self,
        store: ObjectStore,
        identity: str,
        directory: Path,
        trees: Callable[[], Iterable[Tree]],
        *,
        bandwidth: float,
        interval: float,
        give_up: float,
    ) -> None:
        self._keep = URL_LIFE + give_up + MARGIN
        self.offers = Offers(store, self._keep)
        self._store = store
        self._directory = directory
        self._trees = trees
        self._interval = interval
        self._worker = Worker(bandwidth)
        self._prefix = Prefix(store, identity, self._worker.pace)
        self._schedules: dict[bytes, Schedule] = {}
        self._retries = Backoff(10.0, 600.0, random.random)
        self._failures = 0
        self._next_try = 0.0
        self._error = _publishing_error()
        self._next_prune = asyncio.get_running_loop().time() + PRUNE_EVERY
        self._pruned: tuple[float, Pruned] | None = None
        self._prune_error = LastError("garbage of the base not removed")

    async def run(self) -> None:
        """Publish and prune until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            if loop.time() >= self._next_try:
                with suppress(ReplicatorError):  # `_guarded` has recorded it
                    # In the order of their times, so that a tree that fails delays the others once.
                    for schedule in sorted(self._follow_trees(), key=lambda one: one.due):
                        wanted = schedule.tree.comparable and not schedule.why_skipped
                        if wanted and loop.time() >= schedule.due:
                            await self._worker.alone(self._publish(schedule))
                    if loop.time() >= self._next_prune:
                        await self._worker.alone(self._prune())
            await asyncio.sleep(POLL)

    async def publish(self, *, take_over: bool = False) -> list[dict[str, Any]]:
        """Publish all trees now; return a row for each, with `skipped` or `waits` if it was not published.

        Args:
            take_over: also if the prefix belongs to another backend.

        Raises:
            ReplicatorError: if that fails.
        """
        if take_over:
            await self._worker.alone(self._guarded(self._take_over))
        rows = []
        for schedule in self._follow_trees():
            row: dict[str, Any] = {"source": shown(schedule.tree.root)}
            if schedule.why_skipped:
                row["skipped"] = schedule.why_skipped
            elif schedule.tree.comparable:
                row |= await self._worker.alone(self._publish(schedule))
            else:
                row["waits"] = "its source is not scanned yet, or in doubt"
            rows.append(row)
        return rows

    async def prune(self) -> dict[str, Any]:
        """Remove garbage now, and the bases of trees that are not configured any more; return what was removed.

        Raises:
            ReplicatorError: if that fails.
        """
        return (await self._worker.alone(self._prune(others=True)))._asdict()

    def describe(self) -> dict[str, Any]:
        """Return the values of `replicator base status`."""
        pruned = self._pruned
        return {
            "time": round(time.time(), 3),
            "error": self._first_error(),
            "failures": self._failures,
            "prune_error": self._prune_error.reason,
            "interval": self._interval,
            "requests": self._store.requests,
            "bytes_sent": self._store.bytes_sent,
            "packs": len(self._prefix.packs),
            "bytes": sum(self._prefix.packs.copy().values()),
            "pruned_at": round(pruned[0], 3) if pruned else None,
            "pruned": pruned[1]._asdict() if pruned else None,
            "trees": [schedule.row() for schedule in self._schedules.values()],
        }

    def stop(self) -> None:
        """End what runs, and offer nothing any more; does not wait for a request that hangs."""
        self._worker.stop()
        self.offers.close()

    def close(self) -> None:
        """End what runs, and remove the indices. Blocks while a request hangs, for END_WITHIN at most."""
        if not self._worker.is_stopped:
            self.stop()
        if self._worker.join(END_WITHIN):
            for schedule in self._schedules.values():
                schedule.base.close()
        self._store.close()

    def _follow_trees(self) -> list[Schedule]:
        """Return the schedules of the trees that are replicated now."""
        trees = {tree.root: tree for tree in self._trees()}
        for root in [r for r, one in self._schedules.items() if trees.get(r) is not one.tree]:
            if not self._worker.is_busy:
                self._schedules.pop(root).base.close()
                self.offers.set_newest(root, None)
        for root, tree in trees.items():
            if root not in self._schedules:
                base = TreeBase(tree, self._prefix, self._directory, self._worker.rest, self._keep)
                self._schedules[root] = Schedule(base, tree, _publishing_error(shown(root)))
        return [one for root, one in self._schedules.items() if trees.get(root) is one.tree]

    async def _publish(self, schedule: Schedule) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        base, tree = schedule.base, schedule.tree
        begun_at = time.time()
        if not schedule.has_news:
            schedule.due = loop.time() + self._interval
            schedule.current_at = begun_at
            return {"changed": False, **schedule.figures()}
        version = tree.catalog.version()
        began, requests, sent = loop.time(), self._store.requests, self._store.bytes_sent
        try:
            changed, cpu = await self._guarded(lambda: self._timed(base.publish), schedule)
        finally:
            schedule.due = loop.time() + self._interval
            if base.published is None or not self._prefix.is_open:
                self.offers.set_newest(tree.root, None)
        # Only now: what the pointer named before this process has published may hold what is excluded by now.
        self.offers.set_newest(tree.root, base.published, lambda: self._is_usable(tree))
        schedule.version, schedule.current_at = version, begun_at
        schedule.due = loop.time() + max(self._interval, IDLE * cpu)
        row = {
            "changed": changed,
            **schedule.figures(),
            "seconds": round(loop.time() - began, 3),
            "cpu_seconds": round(cpu, 3),
            "requests": self._store.requests - requests,
            "bytes_sent": self._store.bytes_sent - sent,
        }
        if changed:
            log.info("base published", tree=shown(tree.root), **row)
        return row

    def _is_usable(self, tree: Tree) -> bool:
        """Return True if the comparison after a restore removes what the base holds and the source does not.

        It does not while deletions are paused, and not if that is excluded by now: a reload has made another tree of the source then.
        """
        return tree.deletes and any(one is tree for one in self._trees())

    async def _prune(self, *, others: bool = False) -> Pruned:
        """Remove what is not needed any more; with `others`, also what the store holds of trees that are not configured."""
        loop = asyncio.get_running_loop()
        in_use = self.offers.in_use(loop.time())
        known = {pointer_name(tree.root) for tree in self._trees()}
        configured = known if others else None
        self._next_prune = loop.time() + PRUNE_AGAIN
        try:
            with self._prune_error.recorded():
                pruned = await self._claimed(
                    lambda: prune(
                        self._prefix, self.offers.tables, in_use, self._keep, configured, known
                    )
                )
        except StoreError:
            if not self._prefix.is_open:  # another process may remove what was published here
                for root in self._schedules:
                    self.offers.set_newest(root, None)
            raise
        self._next_prune = loop.time() + PRUNE_EVERY
        if not pruned.skipped:
            self._pruned = time.time(), pruned
        for root, schedule in self._schedules.items():
            schedule.base.packs_listed()
            if schedule.base.published is None:
                self.offers.set_newest(root, None)
        if pruned.objects:
            log.info("base pruned", **pruned._asdict())
        return pruned

    async def _guarded(self, work: Callable[[], T], schedule: Schedule | None = None) -> T:
        """Do work as `_claimed` does, and record why it failed.

        Args:
            work: the work.
            schedule: of the tree that it concerns; None: all.
        """
        error = schedule.error if schedule else self._error
        try:
            with error.recorded():
                result = await self._claimed(work)
        except StoreError:
            self._delay_next_try()
            raise
        self._failures, self._error.reason, self._next_try = 0, "", 0.0
        return result

    async def _claimed(self, work: Callable[[], T]) -> T:
        """Run work in a thread, after the prefix was claimed.

        Raises:
            StoreError: with the reason, if it fails.
        """

        def claimed() -> T:
            if work != self._take_over and not self._prefix.is_open:
                self._prefix.open()
                self._forget()
            return work()

        try:
            return await self._worker.run(claimed)
        except (StoreError, SourceError, IndexFailure, OSError) as error:
            raise StoreError(str(error)) from error

    def failed(self, reason: str) -> None:
        """Record why `run` has failed; try again later."""
        self._error.reason = reason
        self._delay_next_try()

    def _delay_next_try(self) -> None:
        self._failures += 1
        delay = self._retries.delay(self._failures)
        self._next_try = asyncio.get_running_loop().time() + delay

    def _first_error(self) -> str:
        errors = (self._error, *(schedule.error for schedule in self._schedules.values()))
        return next(filter(None, (error.reason for error in errors)), "")

    def _take_over(self) -> None:
        self._prefix.open(take_over=True)
        self._forget()

    def _forget(self) -> None:
        for schedule in self._schedules.values():
            schedule.base.forget()

    def _timed(self, work: Callable[[], T]) -> tuple[T, float]:
        """Return the result of work, and the seconds of CPU time that this thread took for it."""
        began = time.thread_time()
        return work(), time.thread_time() - began


def _publishing_error(tree: str = "") -> LastError:
    return LastError("base not published", "base is published again", tree=tree)
