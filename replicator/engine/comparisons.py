"""The comparisons of one frontend: of everything, under the gate, and of single directories that answers have put in doubt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from replicator.core.debts import Key, Owed
from replicator.core.plan import Difference
from replicator.engine.commons import Commons, Plot
from replicator.engine.dispatch import Dispatch
from replicator.engine.doubts import Doubts
from replicator.engine.link import Link
from replicator.engine.progress import Progress
from replicator.engine.reconcile import Territory, reconcile
from replicator.engine.troubles import Troubles
from replicator.errors import AgentFailed
from replicator.model import DIRECTORY, ROOT

HIGH_WATER = 4096
"""Dirty bulk paths at which a comparison pauses: a second's work, and little memory."""


class Comparisons:
    """Compares one frontend, over whatever connection there is.

    Args:
        commons: the trees.
        dispatch: sends what differs.
        doubts: what is to be compared.
        troubles: is told what kept the frontend from being made equal.
        missing: called when something is missing there.

    Attributes:
        progress: how far the last comparison of everything has got.
    """

    def __init__(
        self,
        commons: Commons,
        dispatch: Dispatch,
        doubts: Doubts,
        troubles: Troubles,
        missing: Callable[[], None],
    ) -> None:
        self.progress = Progress()
        self._commons = commons
        self._dispatch = dispatch
        self._dirty = dispatch.dirty
        self._doubts = doubts
        self._troubles = troubles
        self._missing = missing
        self._opened: dict[int, Territory] = {}
        self._confirmed: set[int] = set()
        self._progressed = asyncio.Event()

    def territories(self) -> list[tuple[int, Territory]]:
        """Return what is compared on this frontend, tree by tree."""
        return list(self._opened.items())

    def confirm(self) -> None:
        """A person says that what only this frontend has shall go, at the next comparison."""
        self._confirmed = set(self._commons.plots)

    async def open(self, link: Link) -> None:
        """Tell a new connection's agent where the trees go.

        Raises:
            AgentFailed: a target cannot be used.
        """
        self._opened.clear()
        for plot in list(self._commons.plots.values()):
            await self._open(link, plot)

    async def everything(self, link: Link) -> None:
        """Compare all trees, and wait until what differs was sent, or refused.

        Raises:
            ReplicatorError: it cannot be compared.
        """
        self.progress = Progress(started=_now())
        troubles: list[str] = []
        for tree, plot in list(self._commons.plots.items()):
            if tree not in self._opened:
                await self._open(link, plot)
            with self._doubts.comparing(Key(tree, ROOT)):
                troubles += await self._reconcile(link, tree, ROOT)
        while self._dirty.bulk_open:
            await self._wait_for_progress()
        self.progress.ended = _now()
        self._troubles.unlisted(troubles)

    async def settle_doubts(self, link: Link) -> None:
        """Compare single directories until the connection ends; outside the gate, because it is little."""
        while True:
            key = await self._doubts.next_directory()
            if key.tree in self._opened:
                with self._doubts.comparing(key):
                    await self._settle(link, key)

    async def _settle(self, link: Link, key: Key) -> None:
        owed = key in self._dirty  # then a file may be in doubt because a directory is in its place
        if key.path and not owed:
            self._dispatch.owe([key], Owed.ADOPT)
        catalog = self._opened[key.tree].catalog
        known = await asyncio.get_running_loop().run_in_executor(
            self._commons.pool, catalog.get, [key.path]
        )
        if owed or key.path not in known or known[key.path].entry.kind == DIRECTORY:
            await self._reconcile(link, key.tree, key.path)

    def arrived(self, key: Key) -> None:
        """A path has become clean."""
        self.progress.arrived(key)
        self._progressed.set()

    def refused(self) -> None:
        """A path was refused: it is not waited for."""
        self._progressed.set()

    async def _open(self, link: Link, plot: Plot) -> None:
        opened = await link.open_tree(plot.open)
        self._opened[plot.open.tree] = replace(plot.territory, owner=(opened.uid, opened.gid))

    async def _reconcile(self, link: Link, tree: int, below: bytes) -> list[str]:
        """Compare a directory, make dirty what differs, and return what could not be listed."""
        territory = self._opened[tree]
        confirmed = tree in self._confirmed
        if confirmed:
            territory = replace(territory, delete_guard=1.0)
        outcome = await reconcile(
            link, territory, below, self._commons.pool, partial(self._found, tree)
        )
        if outcome.excess:
            self._troubles.exceeds(tree, outcome.excess)
        elif below == ROOT:
            self._troubles.exceeds_no_more(tree)
        if confirmed and below == ROOT:  # what is confirmed meanwhile is meant for the next one
            self._confirmed.discard(tree)
        return outcome.problems

    async def _found(self, tree: int, differences: list[Difference]) -> None:
        """Make dirty what a comparison found; wait while that is much."""
        now = _now()
        if any(difference.owed > Owed.ATTRIBUTES for difference in differences):
            self._missing()
        for path, owed, size, _ in differences:
            key = Key(tree, path)
            if key not in self._dirty:
                self._dirty.mark(key, owed, now, urgent=False)
                self.progress.expect(key, size)
            if self._dirty.overflowed:
                # What was marked is forgotten: only another comparison finds it.
                self._dirty.overflowed = self._dispatch.counted = False
                raise AgentFailed(
                    "it refuses so many paths that they cannot be kept in mind; the last reason:"
                    f" {self._troubles.error or 'none was told'}"
                )
        self._dispatch.wake()
        while self._dirty.bulk_open > HIGH_WATER:
            await self._wait_for_progress()

    async def _wait_for_progress(self) -> None:
        self._progressed.clear()
        await self._progressed.wait()


def _now() -> float:
    return asyncio.get_running_loop().time()
