"""Surplus paths of one frontend, which are not in the sources: which are removed, and when those that are kept are counted again."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Container
from dataclasses import dataclass

from replicator.core.dirty import DirtySet
from replicator.core.pending import Key
from replicator.core.surplus import Surplus
from replicator.engine.context import Context
from replicator.engine.frontend.compare import Outcome
from replicator.engine.frontend.error_status import ErrorStatus
from replicator.engine.frontend.resync import ResyncQueue
from replicator.engine.loop import loop_time
from replicator.engine.tree import Tree
from replicator.model import ROOT

RECHECK = 5.0
"""Seconds between two counts of a source while a frontend keeps surplus paths."""


@dataclass(frozen=True)
class SurplusLimit:
    """Limits the removal of the surplus that one comparison finds; see `engine.frontend.compare.RemovalLimit`."""

    tree: int
    below: bytes
    surplus: Surplus
    dirty: set[Key] | DirtySet

    def was_dirty(self, path: bytes) -> bool:
        """Return True if a path was dirty when the comparison began."""
        return Key(self.tree, path) in self.dirty

    def why_kept(self, found: int, left: int) -> str:
        """Return why surplus paths are kept; empty if they may be removed, and then their removal is recorded."""
        return self.surplus.judge(found, left, loop_time(), complete=self.below == ROOT)


class SurplusCheck:
    """The surplus of one frontend, tree by tree, across its connections.

    Args:
        context: the trees.
        resync_queue: receives the trees that must be compared again.
        errors: records which surplus is kept.
        dirty: the dirty paths of the frontend.
    """

    def __init__(
        self, context: Context, resync_queue: ResyncQueue, errors: ErrorStatus, dirty: DirtySet
    ) -> None:
        self._context = context
        self._resync_queue = resync_queue
        self._errors = errors
        self._dirty = dirty
        self._trees: dict[int, Surplus] = {}
        self._confirmed: set[int] = set()

    def confirm(self, trees: Collection[int]) -> None:
        """Allow the next comparison of each of the trees to remove all surplus, and request that comparison."""
        self._confirmed.update(trees)
        for tree in trees:
            self._resync_queue.request_tree(tree)

    def is_confirmed(self, tree: int) -> bool:
        """Return True if the next comparison of a whole tree may remove all surplus."""
        return tree in self._confirmed

    def limit(self, tree: Tree, below: bytes = ROOT) -> SurplusLimit | None:
        """Return the limit for a comparison; None if the tree's settings allow the removal of all surplus."""
        if tree.delete_guard >= 1:
            return None
        surplus = self._trees.setdefault(tree.number, Surplus(tree.delete_guard))
        # A listing may be older than the answers that arrive during the comparison. A single directory is listed at once.
        dirty = set(self._dirty) if below == ROOT else self._dirty
        return SurplusLimit(tree.number, below, surplus, dirty)

    def compared(self, tree: int, below: bytes, outcome: Outcome, took: float) -> None:
        """Record the surplus that a comparison has kept. If that was of a directory, the whole tree has to be counted.

        Args:
            tree: number of the tree.
            below: the directory that was compared.
            outcome: outcome of the comparison.
            took: duration of the comparison in seconds.
        """
        if tree not in self._context.trees:
            return
        if below != ROOT:
            if outcome.surplus_kept and tree not in self._errors.trees_with_surplus:
                self._resync_queue.request_tree(tree)
        elif outcome.surplus_kept:
            self._errors.keep_surplus(tree, outcome.surplus_kept)
            self._trees[tree].kept(outcome.surplus, outcome.left, loop_time(), took)
        else:
            self._errors.surplus_resolved(tree)
            if tree in self._trees:
                self._trees[tree].over()

    def forget(self, tree: int) -> None:
        """Forget the surplus of a tree that was removed, or whose surplus was removed because that was confirmed."""
        self._confirmed.discard(tree)
        self._trees.pop(tree, None)

    def next_recheck(self) -> float | None:
        """Return the seconds after which `recheck` should be called; None if no surplus is kept."""
        return RECHECK if any(surplus.asks for surplus in self._trees.values()) else None

    async def recheck(self, opened: Container[int]) -> None:
        """Request a comparison of the trees whose surplus may be gone, or may be removed by now.

        Args:
            opened: the trees that can be compared on this connection.
        """
        loop = asyncio.get_running_loop()
        for number, surplus in list(self._trees.items()):
            tree = self._context.trees.get(number)
            if (
                tree
                and number in opened
                and surplus.asks
                and self._resync_queue.is_satisfied(number)
            ):
                left, _ = await loop.run_in_executor(self._context.pool, tree.catalog.counts)
                if surplus.is_due(left, loop_time()):
                    self._resync_queue.request_tree(number)
