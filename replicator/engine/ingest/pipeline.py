"""From events to published changes: the pipeline of one tree.

    watcher --hints--> Debouncer --work--> Worker --ScanResult--> Publisher --EncodedChanges--> frontends
                           ^                  |
                           +----follow-ups----+

`_receive` passes hints of the watcher to the debouncer. `WorkLoop` takes due work from the debouncer and has the worker do it. While the
source is in doubt, the pipeline is halted: it publishes nothing, in particular no deletion. When the root is as it was, the pipeline
scans the whole tree and continues.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from concurrent.futures import Executor
from contextlib import suppress

import structlog

from replicator.engine.changes.encode import EncodedChanges
from replicator.engine.ingest.barriers import Barriers
from replicator.engine.ingest.publisher import Publisher
from replicator.engine.ingest.work_loop import WorkLoop
from replicator.engine.ingest.worker import Worker
from replicator.engine.supervision import leaves
from replicator.engine.tree import Tree
from replicator.errors import SourceError
from replicator.model import Hint, Hinted, is_within, printable
from replicator.ports import Source, Watcher

log = structlog.get_logger()

RESCAN, RESCAN_MAX = 3600.0, 86400.0
"""Minimum and maximum seconds between the end of a scan of the whole tree and the next one. Not every change has an event: a file may change through a
hard link outside of the tree, or through one that was removed before it was checked."""

RESCAN_SHARE = 1000
"""The pause is at least so many times what the scan took: 1,000,000 files take about 10 s, and are scanned every 3 hours."""

ROOT_POLL, ROOT_POLL_MAX = 1.0, 60.0
"""Minimum and maximum seconds between two checks of a root that is in doubt; the pause is ten times what the check takes."""


_NONE: Mapping[bytes, float] = {}


async def _nothing() -> None:
    pass


def _first_left_out(source: Source, paths: Iterable[bytes]) -> str:
    for path in paths:
        try:
            reason = source.why_left_out(path)
        except OSError as error:
            return f"{printable(path)} cannot be examined: {error.strerror}"
        except SourceError as error:
            return str(error)
        if reason:
            return f"{printable(path)} {reason}, so it is not replicated"
    return ""


class Pipeline:
    """Watches one tree and publishes its changes.

    Args:
        tree: the tree.
        pool: where blocking work runs.
        publish: called on the loop with each change, in order.
        large: where large files are read; default: `pool`.
        on_scanned: called after each full scan: frontends may be compared with the tree.
        resync: called when all frontends must be compared with the tree again: a pause of deletions has ended by itself, or changes
            that were recorded may not have been published.
        locate: awaited before files are read of a root that has appeared, or may be another directory.

    Attributes:
        tree: as given.
        halted: the reason why the source is in doubt; empty if it is not.
        scanned: set when the first scan has read the whole source.
        deletions: holds deletions back until they are known not to be a mass deletion.
        rechecks: paths to check again at a later time.
        overflows: how often the kernel has lost events.
        barriers: tell when everything that was hinted before a time is published.
    """

    def __init__(
        self,
        tree: Tree,
        pool: Executor,
        publish: Callable[[EncodedChanges], Awaitable[None] | None],
        large: Executor | None = None,
        on_scanned: Callable[[], None] = lambda: None,
        resync: Callable[[], None] = lambda: None,
        locate: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        self.tree = tree
        tree.state = self
        self.halted = ""
        self.overflows = 0
        self._wake = asyncio.Event()
        self._publisher = Publisher(tree, pool, publish)
        self._worker = Worker(
            tree, self._publisher, self._wake.set, large or pool, self.is_drained, resync
        )
        self.scanned = self._publisher.scanned
        self.deletions = self._publisher.deletions
        self.rechecks = self._worker.rechecks
        self.barriers = Barriers(tree.debouncer, self._worker, self.deletions, self._wake.set)
        self._work_loop = WorkLoop(tree, self._publisher, self._worker, self.barriers, self._wake)
        self._pool = pool
        self._on_scanned = on_scanned
        self._resync = resync
        self._locate = locate
        self._needs_resync = False
        self._root_pause = ROOT_POLL
        self._follows = False  # events, after the first scan
        self._watcher: Watcher | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def pending(self) -> int:
        """Number of hints whose changes are not published yet, and of deletions that are held back."""
        return len(self.tree.debouncer) + self._worker.pending + self.deletions.held

    @property
    def overdue(self) -> float:
        """Seconds since the next check should have been made; 0 if none is late."""
        due = self.tree.debouncer.deadline()
        return max(0.0, self._loop.time() - due) if due is not None else 0.0

    @property
    def doubt(self) -> str:
        """See engine.tree.SourceState."""
        unread = (
            "" if self.scanned.is_set() else f"{printable(self.tree.root)} is still being scanned"
        )
        return self.needs_confirmation or unread

    @property
    def needs_confirmation(self) -> str:
        """The reason why an operator should check this tree, and may call `resume`; empty if there is none."""
        return self.halted or self.deletions.paused or " ".join(self._worker.guard.problems())

    def resume(self) -> None:
        """Confirm, for an operator, that deletions are intended, and that the source, if it exists, is the right one.

        The caller requests a comparison, without an await in between, and awaits `forget_pause` then.
        """
        self.deletions.confirm(self._loop.time(), source=bool(self.halted))
        self._work_loop.confirm_mounts()

    async def forget_pause(self) -> None:
        """Delete the record of the pause that `resume` has ended."""
        await self._loop.run_in_executor(self._pool, self.deletions.forget_pause)

    def problems(self) -> list[str]:
        """Return full sentences about what keeps this tree from being replicated completely."""
        watching = self._watcher.problems() if self._watcher is not None else []
        mounts = self._worker.guard.problems()
        reasons = (self.halted, self.tree.why_paused, self.deletions.paused)
        return [*filter(None, reasons), *mounts, *watching]

    def why_left_out(self, paths: Collection[bytes]) -> asyncio.Future[str]:
        """Return a path that exists and is not replicated, with the reason; empty if there is none."""
        return self._loop.run_in_executor(self._pool, _first_left_out, self.tree.source, paths)

    @property
    def watches(self) -> tuple[int, int | None]:
        """See ports.Watcher."""
        return self._watcher.watches() if self._watcher is not None else (0, None)

    @property
    def deletions_allowed(self) -> bool:
        """See engine.tree.SourceState."""
        return self.deletions.allowed

    def is_deletion_held(self, path: bytes) -> bool:
        """See engine.tree.SourceState."""
        return self.deletions.is_held(path)

    def recheck(self, path: bytes) -> None:
        """See engine.tree.SourceState.

        A file's stamp can change without an event: a new or removed hard link elsewhere changes its ctime.
        """
        self._loop.call_soon_threadsafe(self._hint, [Hint(Hinted.CHANGED, path)])

    async def published(self) -> None:
        """See engine.tree.SourceState."""
        await self._work_loop.published()

    async def rescan(self) -> None:
        """See engine.tree.SourceState."""
        began = self._loop.time()
        if self._follows:
            self.tree.debouncer.rescan(began)
            self._wake.set()
        while self._follows and self._worker.scanned_since < began:
            self._work_loop.worked.clear()
            await self._work_loop.worked.wait()

    def check_unheard(self, area: bytes) -> None:
        """Check the files at and below a path whose changes the watcher does not report at once."""
        files = self._watcher.unheard_files() if self._watcher is not None else []
        self._hint([Hint(Hinted.CHANGED, path) for path in files if is_within(path, area)])

    def adjust(self, *, cooldown: float, max_wait: float, rescan: float) -> None:
        """Change the times, without checking anything again; see config.SettleSettings."""
        self.tree.debouncer.adjust(cooldown=cooldown, max_wait=max_wait)
        if self._watcher is not None:
            self._watcher.rescan_every(rescan)

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
                await self._until_root_opens()

    def run_failed(self, reason: str) -> None:
        """Halt until the next `run`: it failed with another exception, and the last recorded changes may not have been published."""
        self._set_halted(reason)
        self._needs_resync = True

    async def scan_once(self) -> None:
        """Bring the catalog up to the source without watching it.

        Raises:
            SourceError: the source is in doubt.
        """
        await self._timed(self._worker.open_root)
        await self._timed(self._worker.scan_all)

    async def _watch(self) -> None:
        """Open the root, scan the tree, and follow events until the source is in doubt.

        Raises:
            SourceError: the source is in doubt.
        """
        await self._locate()
        await self._timed(self._worker.open_root)
        await self._locate()  # the root that was opened may be another directory than a moment ago
        self._watcher = self.tree.make_watcher()
        self.rechecks.forget_missing()
        self.tree.debouncer.clear()  # renames before the scan do not apply to what the scan finds
        try:
            await self._watcher.start()
            async with asyncio.TaskGroup() as tasks:
                receive = tasks.create_task(self._receive(self._watcher))
                background = tasks.create_task(self._worker.background.run())
                rescans = tasks.create_task(self._rescan_regularly())
                try:
                    self._worker.checker.defer_huge()
                    await self._timed(self._worker.scan_all)
                    self._worker.checker.defer()
                    self._set_running()
                    self._follows = True
                    await self._work_loop.run()
                finally:
                    self._follows = False
                    self._work_loop.worked.set()
                    receive.cancel()
                    background.cancel()
                    rescans.cancel()
        except ExceptionGroup as group:
            causes = leaves(group)
            if not all(isinstance(cause, SourceError) for cause in causes):
                raise
            raise SourceError(str(causes[0])) from group
        finally:
            self._watcher.close()

    async def _rescan_regularly(self) -> None:
        """Scan the whole tree at intervals."""
        while True:
            pause = min(RESCAN_SHARE * self._worker.scan_seconds, RESCAN_MAX)
            await asyncio.sleep(max(RESCAN, pause))
            await self.rescan()

    async def _receive(self, watcher: Watcher) -> None:
        """Pass hints of the watcher to the debouncer."""
        seen = 0
        while True:
            hints = await watcher.hints()
            self._hint(hints, self._worker.heard(hints))
            if watcher.overflows > seen:
                self.overflows += watcher.overflows - seen
                seen = watcher.overflows
                log.warning(
                    "events were lost, the tree is walked (see fs.inotify.max_queued_events)",
                    tree=printable(self.tree.root),
                    overflows=self.overflows,
                )

    def _hint(self, hints: list[Hint], missing: Mapping[bytes, float] = _NONE) -> None:
        """Pass hints to the debouncer.

        Args:
            hints: the hints.
            missing: the paths in them that were missing at their last check, each with the time of the first event that no check has
                answered yet. The next check answers that event too, so `replicator wait` waits for it.
        """
        now, debouncer = self._loop.time(), self.tree.debouncer
        for hint in hints:
            debouncer.hint(hint, now)
            if missing:
                for path in {hint.path, hint.target} & missing.keys():
                    debouncer.backdate(path, missing[path])
        self._wake.set()

    def is_drained(self, since: float) -> bool:
        """Return True if all events before a time have been taken in as hints; see `ports.Watcher`."""
        return self._watcher is not None and self._watcher.is_drained(since)

    def _halt(self, reason: str) -> None:
        if reason != self.halted:
            log.error("halted", tree=printable(self.tree.root), reason=reason)
        self._set_halted(reason)

    def _set_halted(self, reason: str) -> None:
        self.halted = reason
        self.deletions.source_confirmed = (
            False  # the confirmation was about another state of the source
        )

    def _set_running(self) -> None:
        if self.halted:
            log.info("resumed", tree=printable(self.tree.root))
        self.halted = ""
        if self._needs_resync:
            self._needs_resync = False
            self._resync()
        self._on_scanned()

    async def _timed(self, walk: Callable[[], Awaitable[None]]) -> None:
        """Await a call that may walk the whole tree. If it fails, the next attempt starts after ten times the time that it has taken."""
        began = self._loop.time()
        try:
            await walk()
        except SourceError:
            seconds = self._loop.time() - began
            self._root_pause = max(ROOT_POLL, min(10 * seconds, ROOT_POLL_MAX))
            raise

    async def _until_root_opens(self) -> None:
        while True:
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._root_pause):
                    await self._wake.wait()
            self._root_pause = ROOT_POLL
            try:
                await self._loop.run_in_executor(self._pool, self.tree.source.reopen)
            except SourceError as error:
                self._halt(str(error))  # the reason may have changed
                continue
            return
