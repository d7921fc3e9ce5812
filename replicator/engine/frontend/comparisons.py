"""The comparisons of one frontend: of everything, under the gate, and of single directories that answers have put in doubt."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from replicator.core.pending import Key, PendingKind
from replicator.core.plan import Difference
from replicator.engine.context import Context
from replicator.engine.frontend.compare import OpenedTree, compare
from replicator.engine.frontend.connection import Connection
from replicator.engine.frontend.dispatch import Dispatch
from replicator.engine.frontend.error_status import ErrorStatus
from replicator.engine.frontend.progress import Progress
from replicator.engine.frontend.refused import Refused
from replicator.engine.frontend.resync import ResyncQueue
from replicator.engine.frontend.surplus import SurplusCheck
from replicator.errors import AgentFailed
from replicator.model import DIRECTORY, ROOT
from replicator.wire.messages import Origin

T = TypeVar("T")

HIGH_WATER = 4096
"""Dirty bulk paths at which a comparison pauses: a second's work, and little memory."""


class Comparisons:
    """Compares one frontend, over whatever connection there is.

    Args:
        context: the trees.
        dispatch: sends what differs.
        doubts: what is to be compared.
        troubles: is told what kept the frontend from being made equal.
        missing: called with a tree's number when something of it is missing there.
        machine: returns a name that another machine at the same address would not have, if providers tell one.

    Attributes:
        progress: how far the last comparison of everything has got.
        opened: what is compared on this connection: the trees whose target the agent has opened.
        excess: what the frontend has beyond the sources.
    """

    def __init__(
        self,
        context: Context,
        dispatch: Dispatch,
        resync: ResyncQueue,
        troubles: ErrorStatus,
        missing: Callable[[int], None],
        machine: Callable[[], str],
    ) -> None:
        self.progress = Progress()
        self._context = context
        self._dispatch = dispatch
        self._dirty = dispatch.dirty
        self._resync = resync
        self._troubles = troubles
        self._missing = missing
        self._machine = machine
        self.opened: dict[int, OpenedTree] = {}
        self.excess = SurplusCheck(context, resync, troubles, dispatch.dirty)
        self._origin = Origin()
        self._link: Connection | None = None
        self._places: dict[int, tuple[str, str]] = {}
        self._refused = Refused(context)
        self._running: dict[asyncio.Task[Any], int] = {}
        self._confirmed: set[int] = set()
        self._progressed = asyncio.Event()
        dispatch.forgotten = self._progressed.set

    def opened_trees(self) -> list[tuple[int, OpenedTree]]:
        """Return what is compared on this frontend, tree by tree."""
        return list(self.opened.items())

    def due(self) -> list[int]:
        """Return the trees that shall be compared and can be: the source is known, and the target is not to be tried later."""
        return [
            number
            for number, tree in self._context.trees.items()
            if tree.comparable
            and not self._resync.is_settled(number)
            and self._refused.may_try(number)
        ]

    def unsettled(self) -> list[int]:
        """Return the trees that shall be compared, whether that is possible now or not."""
        return [tree for tree in self._context.trees if not self._resync.is_settled(tree)]

    async def open_due(self, link: Connection) -> bool:
        """Open the trees that are not open yet; return True if any tree is due then.

        One that was added is opened before its source is known: its agent sees whether that is the target of another tree there.
        """
        for tree in list(self._context.trees):
            if tree not in self.opened and self._refused.may_try(tree):
                self._origin = await self._context.origin()
                self._refuse({tree: await self._open(link, tree)})
        return any(tree in self.opened for tree in self.due())

    async def due_changed(self) -> None:
        """Wait until `due` may return something else."""
        waits = (self._refused.next_try(), self.excess.next_look())
        await self._resync.changed(min((wait for wait in waits if wait is not None), default=None))
        await self.excess.look_again(self.opened)

    def forget(self, tree: int) -> None:
        """A tree was removed: end its comparisons, and drop what is known of it."""
        self.opened.pop(tree, None)
        self._places.pop(tree, None)
        self._refused.forget(tree)
        self._confirmed.discard(tree)
        self.excess.forget(tree)
        self._resync.forget(tree)
        self._troubles.forget(tree)
        for task in [task for task, number in self._running.items() if number == tree]:
            task.cancel()
        self._progressed.set()

    def confirm(self, trees: Collection[int]) -> None:
        """A person says that what only this frontend has of some trees shall go, at the next comparison, which is requested."""
        self._confirmed.update(trees)
        for tree in trees:
            self._resync.everything_of(tree)

    def refused_because(self, tree: int) -> str:
        """Return why a tree's target cannot be used; empty if it can."""
        return self._refused.reasons.get(tree, "")

    def hurry(self) -> None:
        """A person asks: try targets that could not be used without a further pause."""
        self._refused.hurry()

    async def open(self, link: Connection) -> None:
        """Tell a new connection's agent where the trees go. A target that cannot be used is tried again later.

        Raises:
            AgentFailed: no target can be used.
        """
        self.opened.clear()
        self._refused.clear()
        self._resync.unsettled()
        self._link = link
        self._origin = await self._context.origin()
        reasons = {tree: await self._open(link, tree) for tree in list(self._context.trees)}
        if any(reasons.values()) and not self.opened:
            raise AgentFailed(next(filter(None, reasons.values())))
        self._refuse(reasons)

    def sources_moved(self, origin: Origin) -> None:
        """The sources are elsewhere, perhaps: a target that is open must not share files with one."""
        self._origin = origin
        if self._link is not None:
            self._link.sources_moved(origin)

    async def everything(
        self, link: Connection, may_go_on: Callable[[], Awaitable[None]]
    ) -> list[int]:
        """Compare all trees that are due, and wait until what differs was sent, or refused.

        Args:
            link: to the frontend.
            may_go_on: awaited before more is made dirty.

        Returns:
            The trees that were compared.

        Raises:
            ReplicatorError: it cannot be compared.
        """
        self.progress = Progress(started=_now())
        due = [tree for tree in self.due() if tree in self.opened]
        if not self._context.compare:
            for tree in due:
                self._resync.settling(tree)
            return due
        compared = [tree for tree in due if await self._compare(link, tree, may_go_on)]
        while self._dirty.bulk_open:
            await self._wait_for_progress()
        self.progress.ended = _now()
        return [tree for tree in compared if tree in self.opened]

    async def count_due(self) -> int:
        """Return how many paths the trees hold that are due."""
        loop = asyncio.get_running_loop()
        catalogs = [self.opened[tree].catalog for tree in self.due() if tree in self.opened]
        counted = [await loop.run_in_executor(self._context.pool, one.counts) for one in catalogs]
        return sum(entries for entries, _ in counted)

    async def _compare(
        self, link: Connection, tree: int, may_go_on: Callable[[], Awaitable[None]]
    ) -> bool:
        """Compare a whole tree; return False if it was removed meanwhile."""
        if tree not in self.opened:
            return False
        self._resync.settling(tree)
        with self._resync.comparing(Key(tree, ROOT)):
            work = self._compare_directory(link, tree, ROOT, may_go_on)
            problems = await self._while_it_lasts(tree, work)
        if problems is None:
            return False
        self._troubles.unlisted(tree, problems)
        return True

    async def settle_doubts(self, link: Connection) -> None:
        """Compare single directories until the connection ends; outside the gate, because it is little."""
        while True:
            key = await self._resync.next_directory()
            if key.tree in self.opened:
                with self._resync.comparing(key):
                    await self._while_it_lasts(key.tree, self._settle_directory(link, key))

    async def _settle_directory(self, link: Connection, key: Key) -> None:
        owed = key in self._dirty  # then a file may be in doubt because a directory is in its place
        if key.path and not owed:
            self._dispatch.owe([key], PendingKind.ADOPT)
        catalog = self.opened[key.tree].catalog
        known = await asyncio.get_running_loop().run_in_executor(
            self._context.pool, catalog.get, [key.path]
        )
        if owed or key.path not in known or known[key.path].entry.kind == DIRECTORY:
            await self._compare_directory(link, key.tree, key.path)

    def arrived(self, key: Key) -> None:
        """A path has become clean."""
        self.progress.arrived(key)
        self._progressed.set()

    def refused(self) -> None:
        """A path was refused: it is not waited for."""
        self._progressed.set()

    async def _open(self, link: Connection, number: int) -> str:
        """Open a tree, unless it is removed meanwhile; return why its target cannot be used, or nothing."""
        tree = self._context.trees.get(number)
        if tree is None:
            return ""
        try:
            opened = await link.open_tree(tree.target._replace(origin=self._origin))
        except AgentFailed as error:
            return str(error)
        targets = self._context.targets
        if refusal := targets.refusal(self._machine(), tree.target.root, opened):
            return refusal
        if not targets.is_saved:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._context.pool, targets.save)
        if self._context.trees.get(number) is tree:
            self._refused.forget(number)
            self._troubles.unopened(number, "")
            self._troubles.lacks(number, link.lacks(tree.target))
            self._note_place(number, link.boot, opened.identity)
            owner = opened.uid, opened.gid
            self.opened[number] = OpenedTree(tree, owner, opened.granularity)
            self._dispatch.opened(number)
        return ""

    def _note_place(self, tree: int, boot: str, identity: str) -> None:
        """Note where a tree's files are now. Elsewhere, or after a power cut, the frontend may lack what it has confirmed."""
        place = boot, identity
        if not all(place) or self._places.get(tree) != place:
            self._resync.certain.discard(tree)
        self._places[tree] = place

    def _refuse(self, reasons: dict[int, str]) -> None:
        """Try targets that cannot be used again after a pause."""
        for tree, reason in reasons.items():
            if reason and tree in self._context.trees:
                self._refused.failed(tree, reason)
                self._troubles.unopened(tree, reason)

    async def _while_it_lasts(self, tree: int, work: Coroutine[Any, Any, T]) -> T | None:
        """Await `work` on a tree; return None if the tree is removed meanwhile."""
        task = asyncio.get_running_loop().create_task(work)
        self._running[task] = tree
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait([task])
            raise
        finally:
            del self._running[task]
        return None if task.cancelled() else task.result()

    async def _compare_directory(
        self,
        link: Connection,
        tree: int,
        below: bytes,
        may_go_on: Callable[[], Awaitable[None]] | None = None,
    ) -> list[str]:
        """Compare a directory, make dirty what differs, and return what could not be listed."""
        # A directory in doubt is compared exactly: it may hold other files than were ordered.
        followed = below == ROOT and self._dispatch.is_followed(tree)
        opened = replace(self.opened[tree], followed=followed)
        confirmed, deletes, began = (
            tree in self._confirmed,
            opened.tree.state.deletions_allowed,
            _now(),
        )
        judge = None if confirmed else self.excess.allowance(opened, below)
        found = partial(self._found, tree, may_go_on)
        outcome = await compare(link, opened, below, self._context.pool, found, judge)
        if confirmed and below == ROOT:  # what is confirmed meanwhile is meant for the next one
            self._confirmed.discard(tree)
            self.excess.forget(tree)
        if deletes:  # otherwise nothing was found out about it
            self.excess.compared(tree, below, outcome, _now() - began)
        return outcome.problems

    async def _found(
        self,
        tree: int,
        may_go_on: Callable[[], Awaitable[None]] | None,
        differences: list[Difference],
    ) -> None:
        """Make dirty what a comparison found; wait while that is much, or others go first."""
        if may_go_on is not None:
            await may_go_on()
        now = _now()
        if any(difference.owed > PendingKind.ATTRIBUTES for difference in differences):
            self._missing(tree)
        self._troubles.surplus([one.path for one in differences if one.surplus])
        for path, owed, size, _ in differences:
            key = Key(tree, path)
            if key not in self._dirty:
                self._dirty.mark(key, owed, now, urgent=False)
                self.progress.expect(key, size)
            if self._dirty.overflowed:
                self._dispatch.forget_owed("one frontend")
                raise self._refuses_too_much()
        self._dispatch.marked(len(differences))
        if self._dispatch.refuses_too_much:
            raise self._refuses_too_much()
        self._dispatch.wake()
        while self._dirty.bulk_open > HIGH_WATER:
            await self._wait_for_progress()

    def _refuses_too_much(self) -> AgentFailed:
        """Return the end of this connection. What was marked is forgotten: only another comparison finds it."""
        return AgentFailed(
            "it refuses so many paths that they cannot be kept in mind; the last reason:"
            f" {self._troubles.error or 'none was told'}"
        )

    async def _wait_for_progress(self) -> None:
        self._progressed.clear()
        await self._progressed.wait()


def _now() -> float:
    return asyncio.get_running_loop().time()
