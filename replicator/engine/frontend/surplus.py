"""What one frontend has of the trees beyond the sources: what may go, what `status` says of the rest, and when it is looked at again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from replicator.core.dirty import DirtySet
from replicator.core.pending import Key
from replicator.core.surplus import Surplus
from replicator.engine.context import Context
from replicator.engine.frontend.compare import OpenedTree, Outcome
from replicator.engine.frontend.error_status import ErrorStatus
from replicator.engine.frontend.resync import ResyncQueue
from replicator.model import ROOT

LOOK = 5.0
"""Seconds between two counts of a source of which a frontend keeps surplus paths; the count is shared by all frontends."""


@dataclass(frozen=True)
class Allowance:
    """What of the surplus that one comparison finds may go; see `engine.frontend.compare.Judge`."""

    tree: int
    below: bytes
    surplus: Surplus
    owed: set[Key] | DirtySet

    def is_owed(self, path: bytes) -> bool:
        """Return True if the frontend was owed a path already when the comparison began."""
        return Key(self.tree, path) in self.owed

    def judge(self, found: int, left: int) -> str:
        """Return why surplus paths stay; empty if they may go."""
        return self.surplus.judge(found, left, _now(), complete=self.below == ROOT)


class SurplusCheck:
    """The surplus of one frontend, tree by tree, over all its connections.

    Args:
        context: the trees.
        doubts: is told what must be compared again.
        troubles: is told what stays.
        dirty: what the frontend is owed.
    """

    def __init__(
        self, context: Context, resync: ResyncQueue, troubles: ErrorStatus, dirty: DirtySet
    ) -> None:
        self._context = context
        self._resync = resync
        self._troubles = troubles
        self._dirty = dirty
        self._trees: dict[int, Surplus] = {}

    def allowance(self, opened: OpenedTree, below: bytes = ROOT) -> Allowance | None:
        """Return what judges the surplus of a comparison; None if the tree's settings let everything go."""
        tree, share = opened.tree.number, opened.tree.delete_guard
        if share >= 1:
            return None
        surplus = self._trees.setdefault(tree, Surplus(share))
        # A listing may be older than the answers that come during the comparison. A directory is listed at once.
        owed = set(self._dirty) if below == ROOT else self._dirty
        return Allowance(tree, below, surplus, owed)

    def compared(self, tree: int, below: bytes, outcome: Outcome, took: float) -> None:
        """A comparison has ended: say what it leaves there. Of a directory, only a comparison of the whole tree can tell.

        Args:
            tree: its number.
            below: the directory that was compared.
            outcome: of the comparison.
            took: seconds that it has taken.
        """
        if tree not in self._context.trees:
            return
        if below != ROOT:
            if outcome.excess and tree not in self._troubles.exceeding:
                self._resync.everything_of(tree)
        elif outcome.excess:
            self._troubles.exceeds(tree, outcome.excess)
            self._trees[tree].kept(outcome.surplus, outcome.left, _now(), took)
        else:
            self._troubles.exceeds_no_more(tree)
            if tree in self._trees:
                self._trees[tree].over()

    def forget(self, tree: int) -> None:
        """A tree was removed, or a person has said that its surplus shall go."""
        self._trees.pop(tree, None)

    def next_look(self) -> float | None:
        """Return the seconds after which `look_again` should be called; None if no surplus is kept."""
        return LOOK if any(surplus.asks for surplus in self._trees.values()) else None

    async def look_again(self, opened: Mapping[int, OpenedTree]) -> None:
        """Request a comparison of the trees whose surplus may have become acceptable, or have gone.

        Args:
            opened: the trees that can be compared on this connection.
        """
        loop = asyncio.get_running_loop()
        for tree, surplus in list(self._trees.items()):
            one = opened.get(tree)
            if one and surplus.asks and self._resync.is_settled(tree):
                left, _ = await loop.run_in_executor(self._context.pool, one.catalog.counts)
                if surplus.is_due(left, _now()):
                    self._resync.everything_of(tree)


def _now() -> float:
    return asyncio.get_running_loop().time()
