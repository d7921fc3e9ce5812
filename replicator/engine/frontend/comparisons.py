"""The comparisons on one connection: of whole trees, in a place of the bootstrap queue, and of single directories, at any time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from replicator.core.pending import Key, PendingKind
from replicator.core.plan import Difference
from replicator.engine.context import Context
from replicator.engine.frontend.compare import compare
from replicator.engine.frontend.connection import Connection
from replicator.engine.frontend.opened_trees import OpenedTrees
from replicator.engine.frontend.progress import Progress
from replicator.engine.frontend.readiness import Readiness
from replicator.engine.frontend.sender import Sender
from replicator.engine.frontend.state import FrontendState
from replicator.engine.loop import loop_time
from replicator.errors import AgentFailed
from replicator.model import DIRECTORY, ROOT

T = TypeVar("T")

HIGH_WATER = 4096
"""Dirty bulk paths at which a comparison pauses: the work of a second, and little memory."""

MayContinue = Callable[[], Awaitable[None]]
"""Awaited before more paths are marked dirty: it returns while the frontend holds its place in the bootstrap queue."""


class Comparisons:
    """Compares one frontend over one connection, and marks dirty what differs.

    Args:
        connection: connection to the agent.
        context: the trees.
        state: state of the frontend.
        opened: the trees that the agent has opened.
        readiness: notified when a comparison of whole trees finds that something is missing.
        sender: notified of dirty paths.
    """

    def __init__(
        self,
        connection: Connection,
        context: Context,
        state: FrontendState,
        opened: OpenedTrees,
        readiness: Readiness,
        sender: Sender,
    ) -> None:
        self._connection = connection
        self._sender = sender
        self._context = context
        self._state = state
        self._dirty = state.dirty
        self._pending_paths = state.pending_paths
        self._resync_queue = state.resync_queue
        self._opened = opened
        self._readiness = readiness
        self._bootstrapping = False
        self._running: dict[asyncio.Task[Any], int] = {}

    def due(self) -> list[int]:
        """Return the trees that need a comparison now: requested, with a trusted source, not paused, and not after a failure of the target."""
        return [
            number
            for number, tree in self._context.trees.items()
            if tree.comparable
            and number not in self._state.held
            and not self._resync_queue.is_satisfied(number)
            and self._opened.may_retry(number)
        ]

    def ready(self) -> list[int]:
        """Return the trees that can be compared now: they are due, and the agent has opened them."""
        return [tree for tree in self.due() if tree in self._opened]

    async def next_due(self) -> bool:
        """Open the trees that are not open yet; return True if a comparison is due then."""
        await self._opened.open_missing()
        return bool(self.ready())

    async def due_changed(self) -> None:
        """Wait until `due` may return something else."""
        waits = (self._opened.next_retry(), self._state.surplus.next_recheck())
        within = min((wait for wait in waits if wait is not None), default=None)
        await self._resync_queue.changed(within)
        await self._state.surplus.recheck(self._opened)

    def cancel(self, tree: int) -> None:
        """Cancel the comparisons of a tree that was removed or paused."""
        for task in [task for task, number in self._running.items() if number == tree]:
            task.cancel()

    def hold(self) -> None:
        """Cancel the comparisons of paused trees. They are requested again, and made when the trees are unpaused.

        Also those that have ended since the last `PendingPaths.tree_compared`: until that, changes of the tree are not marked dirty.
        """
        for tree in self._state.held - self._pending_paths.counted:
            self._resync_queue.request_tree(tree)
        for tree in self._state.held & set(self._running.values()):
            self.cancel(tree)

    async def paths_due(self) -> int:
        """Return the number of paths that the comparison of the trees that are due may walk and list: each path twice."""
        loop = asyncio.get_running_loop()
        total = 0
        for catalog in [self._opened[tree].catalog for tree in self.ready()]:
            entries, _ = await loop.run_in_executor(self._context.pool, catalog.counts)
            total += 2 * entries
        return total

    async def compare_trees(self, may_continue: MayContinue) -> list[int]:
        """Compare all trees that are due, and wait until what differs was sent or refused; return the trees.

        Raises:
            ReplicatorError: if a tree cannot be compared.
        """
        progress = self._state.progress = Progress(started=loop_time())
        due = self.ready()
        if not self._context.compare:
            for tree in due:
                self._resync_queue.began(tree)
            return due
        self._bootstrapping = True
        try:
            compared = [tree for tree in due if await self._compare_tree(tree, may_continue)]
            while self._dirty.bulk_open:
                await self._wait_until_reduced()
        finally:
            self._bootstrapping = False
        progress.ended = loop_time()
        for tree in self._state.held.intersection(compared):  # what differs there was not sent
            self._resync_queue.request_tree(tree)
        return [tree for tree in compared if tree in self._opened and tree not in self._state.held]

    async def resync_directories(self) -> None:
        """Compare single directories on request, until cancelled; without a place in the bootstrap queue, because they are small."""
        while True:
            key = await self._resync_queue.next_directory()
            if key.tree in self._opened:
                with self._resync_queue.comparing(key):
                    ended = await self._unless_removed(key.tree, self._resync_path(key))
                # Cancelled by a pause, which may be over by now.
                if key.tree in self._state.held or (not ended and key.tree in self._opened):
                    self._resync_queue.request(key)

    async def _compare_tree(self, tree: int, may_continue: MayContinue) -> bool:
        """Compare a whole tree; return False if it is removed or paused meanwhile."""
        await self._sender.moved()
        if tree not in self._opened or tree in self._state.held:
            return False
        self._resync_queue.began(tree)
        with self._resync_queue.comparing(Key(tree, ROOT)):
            work = self._compare(tree, ROOT, may_continue)
            problems = await self._unless_removed(tree, work)
        if problems is None or tree not in self._opened:  # or removed just after the comparison
            if tree in self._opened:
                self._resync_queue.request_tree(tree)
            return False
        self._state.errors.set_unlisted(tree, problems)
        return True

    async def _resync_path(self, key: Key) -> bool:
        """Compare a path: by digest if it is a file, otherwise as a directory; return True."""
        was_dirty = key in self._dirty  # perhaps refused, because a directory is in its place there
        if key.path and not was_dirty:
            self._pending_paths.mark([key], PendingKind.ADOPT)
            self._sender.wake()
        catalog = self._opened[key.tree].catalog
        known = await asyncio.get_running_loop().run_in_executor(
            self._context.pool, catalog.get, [key.path]
        )
        if was_dirty or key.path not in known or known[key.path].entry.kind == DIRECTORY:
            await self._compare(key.tree, key.path)
        return True

    async def _unless_removed(self, tree: int, work: Coroutine[Any, Any, T]) -> T | None:
        """Await `work` on a tree; return None if the tree is removed or paused meanwhile."""
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

    async def _compare(
        self, tree: int, below: bytes, may_continue: MayContinue | None = None
    ) -> list[str]:
        """Compare a directory, mark dirty what differs, and return sentences about directories that could not be listed."""
        # A single directory is compared exactly: it may hold files that were never sent.
        followed = below == ROOT and self._pending_paths.is_followed(tree)
        opened = replace(self._opened[tree], followed=followed)
        surplus, began = self._state.surplus, loop_time()
        confirmed = surplus.is_confirmed(tree)
        deletes = opened.tree.state.deletions_allowed
        limit = None if confirmed else surplus.limit(opened.tree, below)
        found = partial(self._found, tree, may_continue)
        pool = self._context.pool
        outcome = await compare(self._connection, opened, below, pool, found, limit)
        if (
            confirmed and below == ROOT
        ):  # a confirmation that arrived meanwhile remains for the next
            surplus.forget(tree)
        if deletes:  # otherwise surplus was not looked for
            surplus.compared(tree, below, outcome, loop_time() - began)
        return outcome.problems

    async def _found(
        self, tree: int, may_continue: MayContinue | None, differences: list[Difference]
    ) -> None:
        """Mark differences dirty; wait while many paths are dirty, or while others have the place in the bootstrap queue."""
        if may_continue is not None:
            await may_continue()
        now = loop_time()
        if self._bootstrapping and any(one.kind > PendingKind.ATTRIBUTES for one in differences):
            self._readiness.incomplete(tree)
        self._state.errors.surplus_removed([one.path for one in differences if one.surplus])
        for path, kind, size, surplus in differences:
            key = Key(tree, path)
            if key not in self._dirty:
                self._dirty.mark(key, kind, now, urgent=False, removal=surplus)
                self._state.progress.expect(key, size)
            if self._dirty.overflowed:
                self._pending_paths.clear("one frontend")
                raise self._refuses_too_much()
        self._pending_paths.marked(len(differences))
        if self._pending_paths.refuses_too_much:
            raise self._refuses_too_much()
        self._sender.wake()
        while self._dirty.bulk_open > HIGH_WATER:
            await self._wait_until_reduced()

    def _refuses_too_much(self) -> AgentFailed:
        """Return the error that ends this connection. The paths that were marked are forgotten: the next comparison finds them."""
        return AgentFailed(
            "it refuses so many paths that the limit of dirty paths is reached; the last reason:"
            f" {self._state.errors.error or 'unknown'}"
        )

    async def _wait_until_reduced(self) -> None:
        self._pending_paths.reduced.clear()
        await self._pending_paths.reduced.wait()
