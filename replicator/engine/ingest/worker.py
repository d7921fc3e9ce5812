"""Does the work that the debouncer returns for one tree: checks, renames and scans; publishes what they find.

A result passes these steps, chunk by chunk: the checker reads the source and updates the catalog (in a worker thread);
`Publisher.encode` encodes what changed (in the same thread); `FollowUps` schedules further checks; the changes are
published; missing paths and directories that may have been renamed are followed up.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from functools import partial
from itertools import groupby
from operator import attrgetter

from replicator.core.debouncer import Work, WorkKind
from replicator.core.pace import Slice
from replicator.core.rechecks import FLAPPING, Reason
from replicator.engine.ingest.background import BackgroundReader
from replicator.engine.ingest.checker import Checker
from replicator.engine.ingest.followups import FollowUps
from replicator.engine.ingest.missing import DRAIN_PAUSE, MissingPaths, drained
from replicator.engine.ingest.publisher import Publisher, run_to_end
from replicator.engine.ingest.records import confirm
from replicator.engine.ingest.renames import Renamer, is_recorded
from replicator.engine.ingest.scan import scan
from replicator.engine.ingest.scan_result import ScanResult
from replicator.engine.ingest.source_guard import SourceGuard
from replicator.engine.ingest.symlinks import WaitingSymlinks
from replicator.engine.tree import Tree
from replicator.errors import SourceError
from replicator.model import ROOT, Hint, Hinted


class Worker:
    """Works on one tree. Its methods must be called one at a time, except `heard`.

    Args:
        tree: the tree.
        publisher: publishes what is found.
        wake: called when a large file has been read, and `check_background_reads` has something to do.
        large: where large files are read.
        is_drained: returns True if all events before a time have been taken in as hints; see `ports.Watcher`.
        resync: called when all frontends must be compared with the tree, because a pause of deletions has ended by itself.

    Attributes:
        checker: checks paths.
        guard: decides whether the root and the mounts below it are the recorded ones.
        background: reads large files.
        rechecks: paths to check again at a later time.
        put_off: changed symlinks that are checked after new files.
        scanned_since: when the last complete scan of the tree began.
        scan_seconds: how long it took.
    """

    def __init__(
        self,
        tree: Tree,
        publisher: Publisher,
        wake: Callable[[], None],
        large: Executor,
        is_drained: Callable[[float], bool] = lambda _: True,
        resync: Callable[[], None] = lambda: None,
    ) -> None:
        self.guard = SourceGuard(tree.root, tree.source, tree.catalog)
        self.background = BackgroundReader(self._read_in_background, wake)
        self._follow_ups = FollowUps(tree, self.background)
        self.rechecks = self._follow_ups.rechecks
        self.put_off = WaitingSymlinks(tree.debouncer, is_drained)
        self._tree = tree
        self._publisher = publisher
        self._deletions = publisher.deletions
        self._large = large
        self._is_drained = is_drained
        self._resync = resync
        self.checker = Checker(
            tree.source, tree.catalog, tree.max_file_size, self._deletions.expect
        )
        self._missing = MissingPaths(
            tree, publisher, self.checker.writer, self._follow_ups, is_drained
        )
        self._renamer = Renamer(tree, publisher, self.checker, self._follow_ups, self.guard)
        self.scanned_since, self.scan_seconds = -math.inf, 0.0
        self._in_progress = 0
        self._loop = asyncio.get_running_loop()

    @property
    def pending(self) -> int:
        """Number of paths in progress, missing for less than the grace period, put off, or queued for background reading."""
        missing = self.rechecks.missing_count
        # `ingest.barriers` waits for the same, path by path: what is added here belongs there as well.
        return self._in_progress + missing + len(self.put_off) + len(self.background)

    async def open_root(self) -> None:
        """Open the root, and verify that it is the one that the catalog describes: until then no file is read.

        Raises:
            SourceError: the root is missing, or in doubt.
        """
        await self._publisher.in_thread(
            partial(self.guard.open_root, confirmed=self._deletions.source_confirmed)
        )

    async def scan_all(self) -> None:
        """Scan the whole tree, and publish the deletions that this finds.

        Raises:
            SourceError: the source is in doubt.
        """
        await self.do([Work(WorkKind.SCAN, ROOT)])
        await self._publisher.release_deletions()
        while self._deletions.has_released:
            await self._publisher.release_deletions()
        self._deletions.source_confirmed = False
        self._publisher.scanned.set()

    async def do(self, work: list[Work]) -> None:
        """Do the work in order.

        Raises:
            SourceError: the source is in doubt.
        """
        self._in_progress = len(work)
        try:
            for kind, some in groupby(work, attrgetter("kind")):
                if kind is WorkKind.CHECK:
                    await self._check(some)
                else:
                    for one in some:
                        await (self._rename(one) if kind is WorkKind.RENAME else self._scan(one))
            await self._check_symlinks()
        finally:
            self._in_progress = 0

    async def check_background_reads(self) -> None:
        """Check the large files that were read in the background.

        Raises:
            SourceError: the source is in doubt.
        """
        await self.background.check_finished(lambda path: self.do([Work(WorkKind.CHECK, path)]))

    def next_due(self) -> float | None:
        """Return the time at which to call `recheck` next; None if nothing is scheduled."""
        if self.put_off:
            return self._loop.time() + DRAIN_PAUSE
        return self.rechecks.next_due()

    def heard(self, hints: Iterable[Hint]) -> dict[bytes, float]:
        """Record events: if a path that they name is missing, its grace period starts again.

        A request to scan a directory is no event about the directory itself, whose own entry is not checked.

        Returns:
            These paths, each with the time of an earlier event that its next check answers as well.
        """
        if not self.rechecks.missing_count:
            return {}
        events = (hint for hint in hints if hint.kind is not Hinted.SUBTREE)
        named = {path for hint in events for path in (hint.path, hint.target)}
        restarted = {path: self.rechecks.heard(path) for path in named}
        earliest = self._loop.time() - FLAPPING
        return {path: at for path, at in restarted.items() if at is not None and at >= earliest}

    async def recheck(self) -> None:
        """Check the paths whose second check is due; see `core.rechecks`.

        Raises:
            SourceError: the source is in doubt.
        """
        await self._check_symlinks()
        due = self.rechecks.next_due()
        if due is None or due > self._loop.time():
            return
        for reason in Reason:
            if reason is Reason.MISSING and self.put_off:
                continue  # on the frontends they may still lead to what is missing here
            if paths := self.rechecks.take(reason, self._loop.time()):
                self._in_progress = len(paths)
                try:
                    await self._recheck(reason, paths)
                finally:
                    self._in_progress = 0
                    if reason is Reason.MISSING:
                        self.rechecks.checked_missing()

    async def _recheck(self, reason: Reason, paths: list[bytes]) -> None:
        if reason is Reason.MISSING:
            self._missing.begin()
            await self._publish(self.checker.check(paths))
            await self._missing.delete_ripe(self._check_due)
            return
        if reason is Reason.UNREADABLE:
            recorded = await self._publisher.in_thread(partial(self._tree.catalog.get, paths))
            for path in set(paths).difference(recorded):
                self.rechecks.readable(path)
            await self._publish_with_pauses(self.checker.check(recorded))
            return
        is_pending = self._tree.debouncer.is_pending
        paths = [path for path in paths if not is_pending(path)]
        if paths:
            stamps = partial(confirm, self._tree.source, self._tree.catalog, paths)
            await self._follow_ups.check_soon(await self._publisher.in_thread(stamps))

    async def maintain(self) -> None:
        """Verify the root and the mounts, and decide about held deletions; the pipeline calls this once per second.

        Raises:
            SourceError: the source is in doubt.
        """
        if doubt := self._tree.source.doubt(ROOT):
            raise SourceError(doubt)
        if self._deletions.is_ripe(self._loop.time()):
            await self._publisher.release_deletions()
        if self._deletions.paused:
            await run_to_end(self._resume_deletions())
        if self.guard.reasons:
            await self._check_mounts()

    async def _resume_deletions(self) -> None:
        may_resume = partial(self._deletions.may_resume, self._loop.time())
        if await self._publisher.in_thread(may_resume):
            self._deletions.resume()
            self._resync()

    async def confirm_mounts(self) -> None:
        """Accept the mounted volumes as they are, as an operator confirmed: files of missing volumes are deleted.

        Raises:
            SourceError: the source is in doubt.
        """
        await self._publisher.in_thread(partial(self.guard.check_mounts, confirmed=True))
        self._deletions.source_confirmed = True
        await self.scan_all()

    async def _check_mounts(self) -> None:
        for path in await self._publisher.in_thread(self.guard.check_mounts):
            self._follow_ups.hint(Hinted.CHANGED, path)
            self._follow_ups.hint(Hinted.SUBTREE, path)

    async def _scan(self, work: Work) -> None:
        """Scan a directory."""
        began, confirmed = self._loop.time(), self._deletions.source_confirmed
        await self._check_mounts()
        since = self._tree.debouncer.answered_since(work.path, self._loop.time(), scan=True)
        results = scan(self.checker, work.path, confirmed=confirmed)
        await self._publish_with_pauses(results, since)
        if work.path == ROOT:
            self.scanned_since, self.scan_seconds = began, self._loop.time() - began

    async def _publish_with_pauses(
        self, results: Iterator[ScanResult], since: float | None = None
    ) -> None:
        """Publish results. After each chunk, do the checks that have become due, so that uploads do not wait for the rest."""
        while await run_to_end(self._publish_next(results, scanned=True, since=since)):
            if self.checker.defers:  # otherwise it is the first scan, which checks everything
                await self._check_due()

    async def _check_due(self) -> None:
        """Check some of the paths that have become due, in the middle of other work."""
        await self._check(self._tree.debouncer.between(self._loop.time(), Slice.FIRST))
        await self._check_symlinks()

    async def _check(self, work: Iterable[Work]) -> None:
        for (force, unclosed), some in groupby(work, attrgetter("force", "unclosed")):
            paths = [one.path for one in some]
            await self._publish(
                self.checker.check(paths, force=force, unclosed=unclosed, symlinks={})
            )

    async def _check_symlinks(self) -> None:
        """Check the symlinks that have waited long enough. One that was switched again meanwhile is put off again."""
        if due := self.put_off.take():
            await self._publish(self.checker.check(due, symlinks=due))

    async def _rename(self, work: Work) -> None:
        """Apply a rename inside the tree, if it is certain what was renamed; see `engine.ingest.renames`.

        The debouncer schedules the check of the target after all renames of the batch: in a -> b -> c, a check of b in between would
        find nothing and delete the records.
        """
        source, target = work.path, work.target
        if not await self._publisher.in_thread(partial(is_recorded, self._tree.catalog, source)):
            return
        unrecorded = partial(self.checker.unrecorded_above, [target])
        if above := await self._publisher.in_thread(unrecorded):
            await self._publish(self.checker.check(above))
            if await self._publisher.in_thread(unrecorded):
                return
        await run_to_end(self._renamer.apply(source, target))

    async def _read_in_background(self, path: bytes, force: bool) -> None:  # noqa: FBT001  # a callback
        read = partial(self.checker.contents.read_ahead, path, force=force)
        await self._loop.run_in_executor(self._large, read)

    async def _publish(self, results: Iterator[ScanResult]) -> None:
        """Take results from the worker thread, chunk by chunk, and publish them."""
        while await run_to_end(self._publish_next(results)):
            pass

    async def _publish_next(
        self, results: Iterator[ScanResult], *, scanned: bool = False, since: float | None = None
    ) -> bool:
        """Publish the next chunk, of a scan or of checks; return False if there was none, or if it was the last."""
        found = await self._publisher.publish_next(results, self._follow_ups, scanned=scanned)
        if found is None:
            return False
        self.put_off.add(found.put_off)
        self._missing.found(found.missing, self._loop.time(), since)
        await self._await_renames(found.arriving)
        return not found.is_last

    async def _await_renames(self, arriving: list[bytes]) -> None:
        """Check directories that may have been renamed again, after their renames if there are any.

        Otherwise the name would be published as a new and empty directory, and the rename could not be followed: on the frontends
        everything below it would be missing until its content has been sent anew.
        """
        if not arriving:
            return
        await drained(self._is_drained, self._loop.time())
        debouncer = self._tree.debouncer
        for path in arriving:
            if not debouncer.is_renamed(path):
                self.checker.accept_as_new(path)
            debouncer.check_now(path, self._loop.time())
