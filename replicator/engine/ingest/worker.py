"""Does what `core.settle` hands out for one tree: looks, renames, walks; and tells everybody what they find.

The looks (stat, read, hash, delta, catalog) run in a worker thread, one at a time; what they find is framed there too, once,
and given to every replica.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any, TypeVar

import structlog

from replicator.core.absences import Absences
from replicator.core.debouncer import Work, WorkKind
from replicator.core.pace import Slice
from replicator.engine.changes.encode import EncodedChanges
from replicator.engine.ingest.background import BackgroundReader
from replicator.engine.ingest.checker import Checker
from replicator.engine.ingest.deletions import Deletions
from replicator.engine.ingest.framing import frame, frame_move
from replicator.engine.ingest.links import may_move
from replicator.engine.ingest.rechecks import Rechecks
from replicator.engine.ingest.renames import follow, is_known
from replicator.engine.ingest.scan import scan
from replicator.engine.ingest.scan_result import ScanResult
from replicator.engine.ingest.source_guard import SourceGuard
from replicator.engine.pauses import Pauses
from replicator.engine.tree import Tree
from replicator.errors import SourceError
from replicator.model import ROOT, SYMLINK, Hint, Hinted, printable

log = structlog.get_logger()

T = TypeVar("T")

MANY = 5000
"""Paths to be looked at again, 10 us each, beyond which the tree is walked instead."""

DRAIN_TURNS, DRAIN_PAUSE = 25, 0.004
"""How often, and after how many seconds, it is asked whether events wait: a batch of 1,000 takes 20 ms to be taken in."""


class Worker:
    """Works on one tree.

    Args:
        tree: the tree.
        pool: where blocking work runs.
        publish: called on the loop with every framed change, in order.
        wake: called when a large file has been read, and `look_at_read` has something to do.
        large: where large files are read; default: `pool`.
        is_drained: says whether all events of before a time were taken as hints; see `ports.Watcher`.
        resumed: called when a pause of deletions has ended by itself: what only frontends have is found by a comparison.

    Attributes:
        surveyed: set once all of the source has been met. Until then nothing is told: nobody has been compared yet, and
            everybody will be, through the gate.
        deletions: what of that which is gone may be told.
        judge: whether the root, and what is mounted below it, is what it was.
        ahead: large files that are read beside everything else.
        upkeep: what is left to be done a little later.
        absences: what is missing, and not believed gone yet.
    """

    def __init__(
        self,
        tree: Tree,
        pool: Executor,
        publish: Callable[[EncodedChanges], Awaitable[None] | None],
        wake: Callable[[], None],
        large: Executor | None = None,
        is_drained: Callable[[float], bool] = lambda _: True,
        resumed: Callable[[], None] = lambda: None,
    ) -> None:
        self.absences = Absences()
        self._is_drained = is_drained
        self._resumed = resumed
        self.scanned = asyncio.Event()
        self.deletions = Deletions(tree)
        self.judge = SourceGuard(tree.root, tree.source, tree.catalog)
        self.ahead = BackgroundReader(self._read_ahead, wake)
        self.rechecks = Rechecks(tree, pool)
        self._tree = tree
        self._pool = pool
        self._large = large or pool
        self._give = publish
        self._checker = Checker(tree.source, tree.catalog, tree.max_file_size)
        self._in_hand = 0
        self._symlinks: list[bytes] = []
        self._loop = asyncio.get_running_loop()

    @property
    def pending(self) -> int:
        """How much that was begun, or waits to be read, is not told yet."""
        return self._in_hand + len(self.ahead) + len(self.absences)

    def defer_huge(self) -> None:
        """Do not let the survey wait for huge files: `look_at_read` is called for them."""
        self._checker.defer_huge()

    def defer(self) -> None:
        """From now on leave to later looks what takes long or is missed for the first time."""
        self._checker.defer()

    async def admit(self) -> None:
        """Open the root, and see that it is the one that the catalog describes: until then nothing of it is read.

        Raises:
            SourceError: it is missing, or in doubt.
        """
        await self._in_thread(partial(self.judge.admit, believed=self.deletions.believed))

    async def scan(self) -> None:
        """Look at the whole tree.

        Raises:
            SourceError: the source is in doubt.
        """
        await self.do([Work(WorkKind.SCAN, ROOT)])
        await self.release()
        while self.deletions.releases:
            await self.release()
        self.deletions.believed = False
        self.scanned.set()

    async def do(self, work: list[Work]) -> None:
        """Do what is ready, in order.

        Raises:
            SourceError: the source is in doubt.
        """
        self._in_hand = len(work)
        try:
            how = attrgetter("kind", "force", "unclosed")
            for (kind, force, unclosed), some in groupby(work, key=how):
                if kind is WorkKind.CHECK:
                    paths = [one.path for one in some]
                    looks = self._checker.check(
                        paths, force=force, unclosed=unclosed, symlinks=False
                    )
                    await self._tell(looks)
                else:
                    for one in some:
                        await (self._move(one) if kind is WorkKind.RENAME else self._walk(one))
            if self._symlinks:  # after what they may lead to
                await self._tell(self._checker.check(self._symlinks))
        finally:
            self._symlinks = []
            self._in_hand = 0

    async def look_at_read(self) -> None:
        """Look at large files that have been read.

        Raises:
            SourceError: the source is in doubt.
        """
        await self.ahead.look(lambda path: self.do([Work(WorkKind.CHECK, path)]))

    def heard(self, hint: Hint) -> None:
        """An event was about a path: what is missing there is missing anew."""
        self.absences.heard(hint.path)
        if hint.target:
            self.absences.heard(hint.target)

    async def look_for_missing(self) -> None:
        """Look once more for what has been missing for a while, and remove what still is.

        Raises:
            SourceError: the source is in doubt.
        """
        if ripe := self.absences.take(self._loop.time()):
            self._in_hand = len(ripe)
            try:
                await self._tell(self._checker.check(ripe))
            finally:
                self._in_hand = 0
                self.absences.settled()

    async def release(self) -> None:
        """Tell some of the deletions that were held back, if there are not too many; see `Deletions.releases`.

        Raises:
            SourceError: the catalog cannot be read.
        """
        await uninterrupted(self._release())

    async def _release(self) -> None:
        framed = lambda: self._framed(ScanResult(gone=self.deletions.release()))  # noqa: E731
        # Without frames: each frontend is sent them when it has room, and uploads go before them.
        encoded_list = [replace(encoded, frames=()) for encoded in await self._in_thread(framed)]
        await self._publish_all(encoded_list)

    async def keep_up(self) -> None:
        """Confirm stamps that were too fresh, look again at what could not be read, and judge what was held back.

        Raises:
            SourceError: the source is in doubt.
        """
        if doubt := self._tree.source.doubt(ROOT):
            raise SourceError(doubt)
        if self.deletions.is_ripe(self._loop.time()):
            await self.release()
        if await self._in_thread(partial(self.deletions.resume, self._loop.time())):
            self._resumed()
        await self._look_again(await self.rechecks.confirm())
        if again := self.rechecks.retries(self._loop.time()):
            await self._tell_between(self._checker.check(again))
        if self.judge.reasons:
            await self._check_mounts()

    async def believe_mounts(self) -> None:
        """A person says that the volumes below the root are right as they are, and that those which are missing are gone.

        Raises:
            SourceError: the source is in doubt.
        """
        await self._in_thread(partial(self.judge.check_mounts, believed=True))
        self.deletions.believed = True
        await self.scan()

    async def _check_mounts(self) -> None:
        for path in await self._in_thread(self.judge.check_mounts):
            self._hint(Hinted.CHANGED, path)
            self._hint(Hinted.SUBTREE, path)

    async def _walk(self, work: Work) -> None:
        believed = self.deletions.believed
        await self._check_mounts()
        await self._tell_between(scan(self._checker, work.path, believed=believed))

    async def _move(self, work: Work) -> None:
        """A rename inside the tree: what is known goes along, if it is certain what was renamed; see `engine.renames`.

        The look at the target comes from `settle`, after all renames of the batch: in a -> b -> c a look at b in between
        would find nothing, and lose what is known. With `delete` off the frontends keep the old name, so a directory is sent anew.
        """
        source, target = work.path, work.target
        if not await self._in_thread(partial(is_known, self._tree.catalog, source)):
            return
        unmet = partial(self._checker.unmet_above, [target])
        if above := await self._in_thread(unmet):
            await self._tell(self._checker.check(above))
            if await self._in_thread(unmet):
                return
        await uninterrupted(self._follow(source, target))

    async def _follow(self, source: bytes, target: bytes) -> None:
        renaming = self._tree.catalog.renaming
        await self._in_thread(renaming.acquire)
        try:
            may = self.deletions.allowed and await self._in_thread(
                partial(may_move, self._tree.catalog, self._tree.symlinks, source, target)
            )
            followed = await self._in_thread(
                partial(follow, self._checker, source, target, may_relabel=may)
            )
            if followed.relabelled:
                await self._publish_all([frame_move(self._tree.number, source, target)])
                self.deletions.renamed(source, target)
                await self._in_thread(partial(self.judge.renamed, source, target))
        finally:
            renaming.release()
        if followed.found is not None:
            await self._look_again(followed.found.siblings)
            await self._publish_all(await self._in_thread(partial(self._admitted, followed.found)))

    async def _read_ahead(self, path: bytes, force: bool) -> None:  # noqa: FBT001  # a callback
        read = partial(self._checker.contents.read_ahead, path, force=force)
        await self._loop.run_in_executor(self._large, read)

    async def _tell(self, findings: Iterator[ScanResult]) -> None:
        """Take findings from the worker thread, chunk by chunk, and publish them."""
        while await uninterrupted(self._tell_next(findings)):
            pass

    async def _tell_between(self, findings: Iterator[ScanResult]) -> None:
        """Do the same, and look at what has become due after each chunk."""
        while await uninterrupted(self._tell_next(findings)):
            if self._checker.defers:  # else it is the first survey, which meets everything
                looks = self._tree.debouncer.between(self._loop.time(), Slice.FIRST)
                how = attrgetter("force", "unclosed")
                for (force, unclosed), some in groupby(looks, key=how):
                    paths = [one.path for one in some]
                    await self._tell(self._checker.check(paths, force=force, unclosed=unclosed))

    async def _tell_next(self, findings: Iterator[ScanResult]) -> bool:
        found = await self._in_thread(lambda: self._next_framed(findings))
        if found is None:
            return False
        chunk, encoded_list = found
        for path in chunk.unsettled:
            self._tree.debouncer.busy(path, self._loop.time())
        for file in chunk.large:
            self.ahead.want(file)
        await self._look_again(chunk.siblings)
        for update in chunk.updates:
            if update.record.entry.kind == SYMLINK:
                self._tree.debouncer.is_symlink(update.record.path)
        self._symlinks += chunk.put_off
        for path in chunk.unlisted:
            self._hint(Hinted.SUBTREE, path)
        self.rechecks.note(chunk, self.ahead)
        await self._publish_all(encoded_list)
        await self._miss(chunk.missing)
        await self._await_renames(chunk.arriving)
        if self.deletions.asks:
            await self._in_thread(self.deletions.judge)
        return True

    async def _miss(self, missing: list[bytes]) -> None:
        """Note what is missing; remove what has been for a while, unless an event tells that it was there meanwhile."""
        looked_at = self._loop.time()
        ripe = [path for path in missing if self.absences.note(path, looked_at)]
        if not ripe:
            return
        drained = await self._drained(looked_at)
        concerns = self._tree.debouncer.concerns
        gone = [path for path in ripe if drained and not concerns(path)]
        for path in set(ripe).difference(gone):
            self.absences.heard(path)
            self.absences.note(path, looked_at)
        if gone:
            found, encoded_list = await self._in_thread(lambda: self._removed(gone))
            await self._look_again(found.siblings)
            self.rechecks.note(found, self.ahead)
            pauses = Pauses(self._loop)
            for path in found.gone:
                self._tree.debouncer.deleted(path)
                await pauses.pause()
            await self._publish_all(encoded_list)

    async def _await_renames(self, arriving: list[bytes]) -> None:
        """Look again at directories that may have been renamed, after their renames if there are any.

        Otherwise the name would be told as a new and empty directory, and the rename could not be followed: on the frontends all
        below it would be missing until its content has been sent anew.
        """
        if not arriving:
            return
        await self._drained(self._loop.time())
        debouncer = self._tree.debouncer
        for path in arriving:
            if not debouncer.is_renamed(path):
                self._checker.believe(path)
            debouncer.check_now(path, self._loop.time())

    async def _drained(self, since: float) -> bool:
        """Wait until all events of before a time have been taken as hints; return False if that takes long."""
        for _ in range(DRAIN_TURNS):
            if self._is_drained(since):
                return True
            await asyncio.sleep(DRAIN_PAUSE)
        return False

    def _next_framed(
        self, findings: Iterator[ScanResult]
    ) -> tuple[ScanResult, list[EncodedChanges]] | None:
        found = next(findings, None)
        return None if found is None else (found, self._admitted(found))

    def _removed(self, paths: list[bytes]) -> tuple[ScanResult, list[EncodedChanges]]:
        found = self._checker.remove(paths)
        return found, self._admitted(found)

    def _admitted(self, found: ScanResult) -> list[EncodedChanges]:
        added = [update.record.path for update in found.updates if update.before is None]
        gone = self.deletions.admit(found.gone, self._loop.time(), added)
        return self._framed(replace(found, gone=gone))

    async def _publish_all(self, encoded_list: Iterable[EncodedChanges]) -> None:
        """Publish parcels in order, with a turn of the loop for others every few milliseconds."""
        pauses = Pauses(self._loop)
        for encoded in encoded_list:
            published = self._publish(encoded)
            if published is not None:
                await published
            await pauses.pause()

    def _framed(self, found: ScanResult) -> list[EncodedChanges]:
        return list(frame(self._tree.number, found)) if self.scanned.is_set() else []

    async def _look_again(self, paths: list[bytes]) -> None:
        if len(paths) > MANY:
            self._hint(Hinted.SUBTREE, ROOT)
            return
        pauses = Pauses(self._loop)
        for path in paths:
            self._hint(Hinted.CHANGED, path)
            await pauses.pause()

    def _hint(self, kind: Hinted, path: bytes) -> None:
        self._tree.debouncer.hint(Hint(kind, path), self._loop.time())

    def _publish(self, encoded: EncodedChanges) -> Awaitable[None] | None:
        if gone := [printable(part.key.path) for part in encoded.parts if part.is_delete]:
            log.info("deleted", tree=printable(self._tree.root), paths=gone)
        return self._give(encoded)

    async def _in_thread(self, call: Callable[[], T]) -> T:
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


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Do `work` to its end, also if we are cancelled meanwhile: what the catalog holds and was told to nobody is never told.

    Raises:
        CancelledError: we were; `work` is done all the same.
    """
    task = asyncio.get_running_loop().create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # whoever cancelled us does not want to know
        raise
