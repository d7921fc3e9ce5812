"""From a tree's hints to framed changes.

One intake for each tree. A pump takes hints from the watcher into `core.settle`, which says when a path is worth a look.
The look (stat, read, hash, delta, catalog) runs in a worker thread, one at a time; what it finds is framed there too, once,
and given to every replica. When the source is in doubt the intake halts: it tells nothing, in particular no deletion, until
the root is back where it was; then it surveys the whole tree and goes on. When the tree loses too much in one go it pauses
deletions alone, until a person confirms them: then all frontends are compared, and lose what is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import TypeVar

import structlog

from replicator.core.guard import DeleteGuard
from replicator.core.settle import Settle, Work, WorkKind
from replicator.engine.examine import Examiner, Findings
from replicator.engine.framing import frame, frame_move
from replicator.engine.parcel import Parcel
from replicator.errors import SourceError
from replicator.model import ROOT, Hint, Hinted, printable
from replicator.ports import Catalog, Record, Source, Watcher

log = structlog.get_logger()
T = TypeVar("T")

CONFIRM_AFTER = 1.0
"""Seconds after which a stamp that was too fresh is looked at again: far beyond any clock's granularity but FAT's."""

ROOT_POLL, ROOT_POLL_MAX = 1.0, 60.0
"""Seconds between two looks for a root that is in doubt; the longer the look takes, the more."""

MOST_AHEAD = 2
"""Large files that wait, read, for their look: each may carry 4 MiB of a delta and its signature."""

TROUBLE_RETRY = 10.0
"""Seconds between two looks at paths that could not be read: a chmod of a parent directory tells us nothing."""


@dataclass(frozen=True)
class Tree:
    """One replicated tree, with everything that its intake needs.

    Attributes:
        number: what it is called on the wire.
        root: the source directory.
        source: its files.
        catalog: what is known of them.
        make_watcher: makes a new watcher, also after the root came back.
        settle: decides when to look.
        delete: tell frontends what is gone.
        delete_guard: the share of the tree beyond which deletions in one go wait for a person.
    """

    number: int
    root: bytes
    source: Source
    catalog: Catalog
    make_watcher: Callable[[], Watcher]
    settle: Settle
    delete: bool
    delete_guard: float = 1.0


class Intake:
    """Watches one tree and tells what changes.

    Args:
        tree: the tree.
        pool: where blocking work runs.
        publish: called on the loop with every framed change, in order.
    """

    def __init__(self, tree: Tree, pool: Executor, publish: Callable[[Parcel], None]) -> None:
        self.tree = tree
        self.halted = ""
        self.paused = tree.catalog.paused()
        self.surveyed = asyncio.Event()
        self._guard: DeleteGuard[bytes] = DeleteGuard(tree.delete_guard)
        self._guard.paused = bool(self.paused)
        self._believed = False
        self._pause = ROOT_POLL
        self._pool = pool
        self._publish = publish
        self._examiner = Examiner(tree.source, tree.catalog)
        self._wake = asyncio.Event()
        self._watcher: Watcher | None = None
        self._unfirm: dict[bytes, Record] = {}
        self._troubled: set[bytes] = set()
        self._in_hand = 0
        self._large: dict[bytes, bool] = {}
        self._read: list[bytes] = []
        self._to_read = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    @property
    def pending(self) -> int:
        """How many hints are not followed up to the end yet."""
        return len(self.tree.settle) + self._in_hand + len(self._large)

    @property
    def deletes(self) -> bool:
        """True if what is gone here shall go on the frontends."""
        return self.tree.delete and not self.paused

    @property
    def sweeps(self) -> bool:
        """True if what a comparison finds on a frontend alone shall go there: not while it is unclear how much that will be."""
        return self.deletes and not self._guard.holding

    async def resume(self) -> None:
        """A person says that what was removed was meant to be, and that the source, if it is there, is right as it is."""
        await self._in_thread(lambda: self.tree.catalog.set_paused(""))
        self._believed = bool(self.halted)
        self.paused = ""
        self._guard.confirm(self._loop.time())
        self._wake.set()

    def problems(self) -> list[str]:
        """Return full sentences about what keeps this tree from being replicated whole."""
        watching = self._watcher.problems() if self._watcher is not None else []
        return [*filter(None, [self.halted, self.paused]), *watching]

    def troubles(self) -> list[bytes]:
        """Return paths whose content cannot be read at present."""
        return sorted(self._troubled)[:100]

    def look_again(self, path: bytes) -> None:
        """Follow up a doubt of the supply's; called from any thread.

        A file's stamp can change without an event: a new or lost hard link elsewhere changes its ctime.
        """
        self._loop.call_soon_threadsafe(self._hint, Hint(Hinted.CHANGED, path))

    def _hint(self, hint: Hint) -> None:
        self.tree.settle.hint(hint, self._loop.time())
        self._wake.set()

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
                if str(error) != self.halted:
                    log.error("halted", tree=printable(self.tree.root), reason=str(error))  # noqa: TRY400  # no bug of ours
                self.halted = str(error)
                self._believed = False
                await self._until_root_is_back()

    async def survey_once(self) -> None:
        """Bring the catalog up to the source without watching it.

        Raises:
            SourceError: the source is in doubt.
        """
        began = self._loop.time()
        try:
            await self._process([Work(WorkKind.WALK, ROOT)])
        except SourceError:
            # What is in doubt after a walk is walked again, but not all the time.
            self._pause = max(ROOT_POLL, min(10 * (self._loop.time() - began), ROOT_POLL_MAX))
            raise
        await self._release()
        self._believed = False
        self.surveyed.set()

    async def _watch(self) -> None:
        self._watcher = self.tree.make_watcher()
        try:
            await self._watcher.start()
            async with asyncio.TaskGroup() as tasks:
                pump = tasks.create_task(self._pump(self._watcher))
                ahead = tasks.create_task(self._read_ahead())
                try:
                    await self.survey_once()
                    self._examiner.defers = True
                    self._go_on()
                    await self._follow()
                finally:
                    pump.cancel()
                    ahead.cancel()
        except* SourceError as group:
            raise SourceError(str(group.exceptions[0])) from group
        finally:
            self._watcher.close()

    def _go_on(self) -> None:
        if self.halted:
            log.info("resumed", tree=printable(self.tree.root))
        self.halted = ""

    async def _pump(self, watcher: Watcher) -> None:
        loop = asyncio.get_running_loop()
        while True:
            for hint in await watcher.hints():
                self.tree.settle.hint(hint, loop.time())
            self._wake.set()

    async def _read_ahead(self) -> None:
        """Read large files one after the other, while everything else goes on."""
        while True:
            unread = [path for path in self._large if path not in self._read]
            if not unread or len(self._read) >= MOST_AHEAD:
                self._to_read.clear()
                await self._to_read.wait()
                continue
            force = self._large[unread[0]]
            await self._in_thread(partial(self._examiner.read_ahead, unread[0], force=force))
            self._read.append(unread[0])
            self._wake.set()

    async def _take_read(self) -> None:
        """Look at what was read ahead."""
        while self._read:
            path = self._read.pop(0)
            self._in_hand = 1
            del self._large[path]
            try:
                await self._tell(self._examiner.examine([path]))
            finally:
                self._in_hand = 0
                self._to_read.set()

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        upkeep = loop.time() + CONFIRM_AFTER
        while True:
            self._wake.clear()
            work = self.tree.settle.ready(loop.time())
            if work:
                await self._process(work)
            await self._take_read()
            if loop.time() >= upkeep:
                await self._upkeep()
                upkeep = loop.time() + CONFIRM_AFTER
            if work:
                continue
            deadline = self.tree.settle.deadline()
            until = upkeep if deadline is None else min(deadline, upkeep)
            try:
                async with asyncio.timeout_at(until):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _process(self, work: list[Work]) -> None:
        """Do what is ready, in order."""
        self._in_hand = len(work)
        try:
            await self._do(work)
        finally:
            self._in_hand = 0

    async def _do(self, work: list[Work]) -> None:
        for (kind, force), some in groupby(work, key=lambda one: (one.kind, one.force)):
            if kind is WorkKind.EXAMINE:
                await self._tell(self._examiner.examine([one.path for one in some], force=force))
            else:
                for one in some:
                    await (self._move(one) if kind is WorkKind.MOVE else self._walk(one.path))

    async def _walk(self, path: bytes) -> None:
        await self._tell(self._examiner.survey(path, believed=self._believed))

    async def _tell(self, findings: Iterator[Findings]) -> None:
        """Take findings from the worker thread, chunk by chunk, and publish them."""
        loop = asyncio.get_running_loop()
        while True:
            found = await self._in_thread(lambda: self._next_framed(findings))
            if found is None:
                return
            chunk, parcels = found
            for path in chunk.unsettled:
                self.tree.settle.busy(path, loop.time())
            for path, force in chunk.large:
                self._large[path] = force
                self._to_read.set()
            for path in chunk.siblings:
                self.tree.settle.hint(Hint(Hinted.CHANGED, path), loop.time())
            for path in chunk.unlisted:
                self.tree.settle.hint(Hint(Hinted.SUBTREE, path), loop.time())
            self._unfirm.update((record.path, record) for record in chunk.unfirm)
            self._note_troubles(chunk)
            for parcel in parcels:
                self._publish(parcel)

    def _next_framed(self, findings: Iterator[Findings]) -> tuple[Findings, list[Parcel]] | None:
        found = next(findings, None)
        if found is None:
            return None
        gone = self._passed(found.gone)
        if (
            not self.surveyed.is_set()
        ):  # nobody has been compared yet, and everybody will be: through the gate
            return found, []
        return found, list(frame(self.tree.number, replace(found, gone=gone)))

    def _passed(self, gone: list[bytes]) -> list[bytes]:
        """Return what may be told of what is gone from the source and the catalog."""
        if not self.tree.delete or self._believed:
            return gone if self.tree.delete else []
        passed = self._guard.admit(gone, self._loop.time())
        if self._guard.asks:
            self._judge()
        return list(passed)

    def _judge(self) -> None:
        if self._guard.judge(self.tree.catalog.counts()[0]):
            return
        self.paused = (
            f"{self._guard.lost} of {self._guard.before} paths were removed in one go, so no more deletions are sent."
            " If that was meant: `replicator resume`. If not: put the files back, then `replicator resume`."
        )
        self.tree.catalog.set_paused(self.paused)
        log.error("deletions paused", tree=printable(self.tree.root), reason=self.paused)

    async def _release(self) -> None:
        """Tell the deletions that were held back, if there are not too many."""
        for parcel in await self._in_thread(self._released):
            self._publish(parcel)

    def _released(self) -> list[Parcel]:
        if self._guard.holding:
            self._judge()
        held = self._guard.release()
        back = self.tree.catalog.get(held)
        gone = [path for path in held if path not in back]
        return list(frame(self.tree.number, Findings(gone=gone))) if self.surveyed.is_set() else []

    def _note_troubles(self, found: Findings) -> None:
        for update in found.updates:
            if update.record.path in found.unsettled or update.record.path in self._large:
                continue
            if update.record.problem:
                self._troubled.add(update.record.path)
                log.warning(
                    "unreadable", path=printable(update.record.path), reason=update.record.problem
                )
            else:
                self._troubled.discard(update.record.path)
        self._troubled.difference_update(found.gone)

    async def _move(self, work: Work) -> None:
        """A rename inside the tree: relabel what is known, and tell it as one change.

        The look at the target comes from `settle`, after all renames of the batch: in a -> b -> c a look at b in between
        would find nothing, and lose what is known. With `delete` off the frontends keep the old name, so there is nothing
        to rename.
        """
        source, target = work.path, work.target
        if self.deletes and await self._in_thread(
            lambda: self._examiner.can_relabel(source, target)
        ):
            in_the_way = await self._in_thread(lambda: self._examiner.relabel(source, target))
            for parcel in frame_move(self.tree.number, source, target, in_the_way):
                self._publish(parcel)
            # renameat2(RENAME_EXCHANGE) is told as two renames, and leaves something under both names.
            self._hint(Hint(Hinted.CHANGED, source))
        else:
            await self._tell(self._examiner.examine([source]))

    async def _upkeep(self) -> None:
        """Confirm stamps that were too fresh, look again at what could not be read, and judge what was held back."""
        loop = asyncio.get_running_loop()
        if self._guard.is_ripe(loop.time()):
            await self._release()
        ripe = [r for r in self._unfirm.values() if not self.tree.settle.is_pending(r.path)]
        if ripe:
            await self._in_thread(lambda: self._examiner.confirm(ripe))
        self._unfirm.clear()
        if self._troubled and loop.time() >= self._next_trouble:
            self._next_trouble = loop.time() + TROUBLE_RETRY
            await self._tell(self._examiner.examine(self._troubled))

    _next_trouble = 0.0

    async def _until_root_is_back(self) -> None:
        while True:
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause):
                    await self._wake.wait()
            self._pause = ROOT_POLL
            try:
                await self._in_thread(self.tree.source.reopen)
            except SourceError:
                self._believed = False  # what is not there cannot be right as it is
                continue
            return

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)
