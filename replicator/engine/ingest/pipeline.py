"""From a tree's hints to framed changes.

One intake for each tree. A pump takes hints from the watcher into `core.settle`, which says when a path is worth a look; a
`worker` looks, and tells what it finds. When the source is in doubt the intake halts: it tells nothing, in particular no
deletion, until the root is back where it was; then it surveys the whole tree and goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from contextlib import suppress

import structlog

from replicator.core.pace import Slice
from replicator.engine.changes.encode import EncodedChanges
from replicator.engine.ingest.worker import Worker
from replicator.engine.supervision import leaves
from replicator.engine.tree import Tree
from replicator.errors import SourceError
from replicator.model import Hint, Hinted, printable
from replicator.ports import Watcher

log = structlog.get_logger()

CONFIRM_AFTER = 1.0
"""Seconds after which a stamp that was too fresh is looked at again: far beyond any clock's granularity but FAT's."""

ROOT_POLL, ROOT_POLL_MAX = 1.0, 60.0
"""Seconds between two looks for a root that is in doubt; the longer the look takes, the more."""


async def _nothing() -> None:
    pass


class Pipeline:
    """Watches one tree and tells what changes.

    Args:
        tree: the tree.
        pool: where blocking work runs.
        publish: called on the loop with every framed change, in order.
        large: where large files are read; default: `pool`.
        comparable: called when frontends may be compared with the tree, at first or again.
        resumed: called when frontends must be compared with the tree again: a pause of deletions has ended by itself, or a failure
            has.
        located: awaited before anything of a source is read that has appeared or may be another directory.

    Attributes:
        tree: as given.
        halted: why the source is in doubt; empty if it is not.
        surveyed: set once all of the source has been met.
        deletions: what of that which is gone may be told.
        overflows: how often the kernel has lost events.
    """

    def __init__(
        self,
        tree: Tree,
        pool: Executor,
        publish: Callable[[EncodedChanges], Awaitable[None] | None],
        large: Executor | None = None,
        comparable: Callable[[], None] = lambda: None,
        resumed: Callable[[], None] = lambda: None,
        located: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        self.tree = tree
        tree.state = self
        self.halted = ""
        self.overflows = 0
        self._wake = asyncio.Event()
        wake = self._wake.set
        self._worker = Worker(tree, pool, publish, wake, large, self._is_drained, resumed)
        self.scanned = self._worker.scanned
        self.deletions = self._worker.deletions
        self._pool = pool
        self._comparable = comparable
        self._located = located
        self._resumed = resumed
        self._is_untold = False
        self._pause = ROOT_POLL
        self._believe_mounts = False
        self._watcher: Watcher | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def pending(self) -> int:
        """How many hints are not followed up to the end yet, and how many deletions are not told."""
        return len(self.tree.debouncer) + self._worker.pending + self.deletions.held

    @property
    def doubt(self) -> str:
        """Why the source may hold something else than what is known or told of it; empty if it does not."""
        unread = (
            "" if self.scanned.is_set() else f"{printable(self.tree.root)} is still being scanned"
        )
        return self.asks or unread

    @property
    def overdue(self) -> float:
        """How many seconds ago the next look should have been made; 0 if none is late."""
        due = self.tree.debouncer.deadline()
        return max(0.0, self._loop.time() - due) if due is not None else 0.0

    @property
    def asks(self) -> str:
        """Why a person should look at this tree, and may call `resume`; empty if nothing waits for that."""
        return self.halted or self.deletions.paused or " ".join(self._worker.judge.problems())

    async def resume(self) -> None:
        """A person says that what was removed was meant to be, and that the source, if it is there, is right as it is."""
        self.deletions.confirm(self._loop.time(), believe=bool(self.halted))
        await self._loop.run_in_executor(self._pool, self.deletions.forget_pause)
        self._believe_mounts = bool(self._worker.judge.reasons)
        self._wake.set()

    def problems(self) -> list[str]:
        """Return full sentences about what keeps this tree from being replicated whole."""
        watching = self._watcher.problems() if self._watcher is not None else []
        mounts = self._worker.judge.problems()
        return [*filter(None, [self.halted, self.deletions.paused]), *mounts, *watching]

    def troubles(self) -> list[bytes]:
        """Return paths whose content cannot be read at present."""
        return self._worker.rechecks.troubles()

    @property
    def deletions_allowed(self) -> bool:
        """See engine.tree.SourceState."""
        return self.deletions.allowed

    def holds(self, path: bytes) -> bool:
        """See engine.tree.SourceState."""
        return self.deletions.holds(path)

    def recheck(self, path: bytes) -> None:
        """See engine.tree.SourceState.

        A file's stamp can change without an event: a new or lost hard link elsewhere changes its ctime.
        """
        self._loop.call_soon_threadsafe(self._hint, [Hint(Hinted.CHANGED, path)])

    def failed(self, reason: str) -> None:
        """The tree halts until it runs again: its source is in doubt, or `run` has failed with something else."""
        self.halted = reason
        self.deletions.believed = False  # what is in doubt cannot be right as it is

    def broken(self, reason: str) -> None:
        """`run` has failed with something else than a doubt: what was recorded last is perhaps told to nobody."""
        self.failed(reason)
        self._is_untold = True

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            try:
                await self._watch()
            except SourceError as error:
                ours = asyncio.current_task()
                if ours is not None and ours.cancelling():
                    # A TaskGroup of Python 3.11 loses a cancellation that meets an error.
                    raise asyncio.CancelledError from error
                self._halt(str(error))
                await self._until_root_is_back()

    async def scan_once(self) -> None:
        """Bring the catalog up to the source without watching it.

        Raises:
            SourceError: the source is in doubt.
        """
        await self._paced(self._worker.admit)
        await self._paced(self._worker.scan)

    async def _paced(self, walk: Callable[[], Awaitable[None]]) -> None:
        """Do what may walk the whole tree: if that shows a doubt, it is done again, but not all the time."""
        began = self._loop.time()
        try:
            await walk()
        except SourceError:
            self._pause = max(ROOT_POLL, min(10 * (self._loop.time() - began), ROOT_POLL_MAX))
            raise

    def adjust(self, *, cooldown: float, max_wait: float, rescan: float) -> None:
        """Use other times, without looking at anything anew; see config.SettleSettings."""
        self.tree.debouncer.adjust(cooldown=cooldown, max_wait=max_wait)
        if self._watcher is not None:
            self._watcher.rescan_every(rescan)

    async def _watch(self) -> None:
        await self._located()
        await self._paced(self._worker.admit)
        await self._located()  # what was admitted may be another directory than a moment ago
        self._watcher = self.tree.make_watcher()
        self._worker.absences.clear()
        self.tree.debouncer.clear()  # a rename of before the survey is none of what the survey finds
        try:
            await self._watcher.start()
            async with asyncio.TaskGroup() as tasks:
                pump = tasks.create_task(self._pump(self._watcher))
                ahead = tasks.create_task(self._worker.ahead.run())
                try:
                    self._worker.defer_huge()
                    await self._paced(self._worker.scan)
                    self._worker.defer()
                    self._go_on()
                    await self._follow()
                finally:
                    pump.cancel()
                    ahead.cancel()
        except ExceptionGroup as group:
            causes = leaves(group)
            if not all(isinstance(cause, SourceError) for cause in causes):
                raise
            raise SourceError(str(causes[0])) from group
        finally:
            self._watcher.close()

    def _halt(self, reason: str) -> None:
        if reason != self.halted:
            log.error("halted", tree=printable(self.tree.root), reason=reason)
        self.failed(reason)

    def _go_on(self) -> None:
        if self.halted:
            log.info("resumed", tree=printable(self.tree.root))
        self.halted = ""
        if self._is_untold:
            self._is_untold = False
            self._resumed()
        self._comparable()

    def _is_drained(self, since: float) -> bool:
        return self._watcher is not None and self._watcher.is_drained(since)

    async def _pump(self, watcher: Watcher) -> None:
        seen = 0
        while True:
            hints = await watcher.hints()
            for hint in hints:
                self._worker.heard(hint)
            self._hint(hints)
            if watcher.overflows > seen:
                self.overflows += watcher.overflows - seen
                seen = watcher.overflows
                log.warning(
                    "events were lost, the tree is walked (see fs.inotify.max_queued_events)",
                    tree=printable(self.tree.root),
                    overflows=self.overflows,
                )

    def _hint(self, hints: list[Hint]) -> None:
        for hint in hints:
            self.tree.debouncer.hint(hint, self._loop.time())
        self._wake.set()

    async def _follow(self) -> None:
        rechecks = self._loop.time() + CONFIRM_AFTER
        pace = Slice()
        while True:
            self._wake.clear()
            began = self._loop.time()
            work = self.tree.debouncer.ready(began, pace.size)
            if work:
                await self._worker.do(work)
                pace.took(self._loop.time() - began)
            else:
                pace.rested()
            await self._worker.look_at_read()
            await self._worker.look_for_missing()
            if self._believe_mounts:
                self._believe_mounts = False
                await self._worker.believe_mounts()
            if self._loop.time() >= rechecks:
                await self._worker.keep_up()
                pause = 0.0 if self._worker.rechecks.unconfirmed else CONFIRM_AFTER
                rechecks = self._loop.time() + pause
            if self._worker.deletions.releases:
                await self._worker.release()
                continue
            if work:
                continue
            dues = (rechecks, self.tree.debouncer.deadline(), self._worker.absences.next_due())
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(due for due in dues if due is not None)):
                    await self._wake.wait()

    async def _until_root_is_back(self) -> None:
        while True:
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause):
                    await self._wake.wait()
            self._pause = ROOT_POLL
            try:
                await self._loop.run_in_executor(self._pool, self.tree.source.reopen)
            except SourceError as error:
                self._halt(str(error))  # the reason may be another one by now
                continue
            return
