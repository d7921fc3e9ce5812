"""Schedules further checks of what a check has found.

There are three schedules: the debouncer (files that are open for writing, other names of an inode, unlisted directories), background
reads (large files), and `core.rechecks` (missing paths, unstable records, unreadable files).
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from replicator.core.rechecks import Rechecks
from replicator.engine.ingest.background import BackgroundReader
from replicator.engine.ingest.scan_result import ScanResult
from replicator.engine.loop import Pauses, loop_time
from replicator.engine.tree import Tree
from replicator.model import ROOT, SYMLINK, Hint, Hinted, printable
from replicator.ports import Record

log = structlog.get_logger()

MANY = 5000
"""Number of paths to check again, 10 us each, above which the tree is scanned instead."""


class FollowUps:
    """Further checks of one tree.

    Args:
        tree: the tree.
        background: reads large files.

    Attributes:
        rechecks: paths to check again at a later time.
    """

    def __init__(self, tree: Tree, background: BackgroundReader) -> None:
        self.rechecks = Rechecks()
        self._debouncer = tree.debouncer
        self._background = background

    async def schedule(self, found: ScanResult, *, scanned: bool = False) -> None:
        """Schedule the further checks that follow from a result, except those of missing paths and of directories that may be renamed.

        Args:
            found: the result of a check or a scan.
            scanned: True for a scan.
        """
        for path in found.unsettled:
            self._debouncer.busy(path, loop_time(), scanned=scanned)
        for file in found.large:
            self._background.add(file)
        await self.check_soon(found.siblings)
        for update in found.updates:
            if update.record.entry.kind == SYMLINK:
                self._debouncer.is_symlink(update.record.path)
        for path in found.unlisted:
            self.hint(Hinted.SUBTREE, path)
        self._recheck(found)
        await self._deleted(found.gone)

    def _recheck(self, found: ScanResult) -> None:
        now = loop_time()
        for record in found.unstable:
            self.rechecks.unstable(record.path, now)
        for update in found.updates:
            path, problem = update.record.path, update.record.problem
            if problem and path not in found.unsettled and path not in self._background:
                self.rechecks.unreadable(path, now)
                _log_unreadable(update.record)
        for record in found.unread:
            if self.rechecks.unreadable(record.path, now):  # recorded before a restart
                _log_unreadable(record)
        if self.rechecks.has_unreadable:
            for update in found.updates:
                if not update.record.problem:
                    self.rechecks.readable(update.record.path)
            for path in found.gone + found.forgotten:
                self.rechecks.readable(path)

    async def renamed(self, source: bytes, target: bytes) -> None:
        """Recheck paths at and below a renamed directory by their new names."""
        pauses = Pauses()
        for _ in self.rechecks.renamed(source, target, loop_time()):
            await pauses.pause()

    async def check_soon(self, paths: Iterable[bytes]) -> None:
        """Schedule checks after the cooldown; of very many paths, a scan of the tree instead."""
        paths = list(paths)
        if len(paths) > MANY:
            self.hint(Hinted.SUBTREE, ROOT)
            return
        pauses = Pauses()
        for path in paths:
            self.hint(Hinted.CHANGED, path)
            await pauses.pause()

    async def _deleted(self, paths: Iterable[bytes]) -> None:
        """Let paths that were deleted be checked at once if they are created again."""
        pauses = Pauses()
        for path in paths:
            self._debouncer.deleted(path)
            await pauses.pause()

    def hint(self, kind: Hinted, path: bytes) -> None:
        """Give the debouncer a hint that follows from a check."""
        self._debouncer.hint(Hint(kind, path), loop_time(), derived=True)


def _log_unreadable(record: Record) -> None:
    log.warning("unreadable", path=printable(record.path), reason=record.problem)
