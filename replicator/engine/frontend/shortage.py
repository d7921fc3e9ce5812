"""What one frontend lacks by itself: what others hold, and for longer than sending it takes.

What all frontends lack (a path that nobody can take, a large upload under way) is no reason to take any of them out of service: the
load balancer would replace all of them, and the new ones would lack it as well.
"""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import Executor
from itertools import islice
from typing import TypeVar

from replicator.core.dirty import DirtySet
from replicator.core.pending import Key, Pending, PendingKind
from replicator.engine.context import Context

T = TypeVar("T")

SLOWEST = 1 << 20
"""Bytes per second that a line is expected to carry at least: for each MiB that is owed, a frontend may lag a second more."""

MOST = 500
"""Owed paths that are looked at in one turn: with a hundred frontends 10 ms."""


class Shortage:
    """Tells what one frontend lacks by itself. A fleet of one lacks everything by itself.

    Args:
        dirty: what it is owed.
        context: who else there is, and the trees.
    """

    def __init__(self, dirty: DirtySet, context: Context) -> None:
        self._dirty = dirty
        self._context = context
        self._since: dict[Key, float] = {}
        self._shared: set[Key] = set()

    def is_own(self, key: Key) -> bool:
        """Return True if some other frontend holds a path, or there is no other."""
        others = [peer for peer in self._context.peers() if peer.dirty is not self._dirty]
        return not others or any(peer.holds(key) for peer in others)

    def look(self, now: float) -> None:
        """Note which of the owed paths are lacked by this frontend alone, and since when at most. Call it every second or so."""
        owed = self._oldest()
        own = {key: debt for key, debt in owed if self.is_own(key)}
        alone = len(list(islice(self._context.peers(), 2))) < 2
        self._shared = {key for key, _ in owed if key not in own or key in self._shared}
        self._since = {
            key: self._since.get(key, debt.since if alone or key not in self._shared else now)
            for key, debt in own.items()
        }

    def misses(self, trees: set[int]) -> bool:
        """Return True if a comparison of one of the trees has found something missing that others held already."""
        found = (key for key, debt in self._oldest() if key.tree in trees and _is_found(debt))
        return any(key in self._since and key not in self._shared for key in found)

    def refuses(self) -> bool:
        """Return True if it refuses something that others hold."""
        refused = [key for key, debt in self._dirty.lacking() if debt.reason]
        return any(map(self.is_own, _some(refused)))

    async def lags(self, now: float, allowed: float, pool: Executor) -> bool:
        """Return True if it lacks something by itself for longer than `allowed` seconds and what its bytes take."""
        oldest = min(self._since.values(), default=now)
        if now - oldest <= allowed:
            return False
        return now - oldest > allowed + await self._bytes_owed(pool) / SLOWEST

    async def _bytes_owed(self, pool: Executor) -> float:
        keys = [key for key, debt in self._oldest() if debt.owed is PendingKind.CONTENT]
        total = 0
        for number, tree in list(self._context.trees.items()):
            catalog, paths = tree.catalog, [key.path for key in keys if key.tree == number]
            records = await asyncio.get_running_loop().run_in_executor(pool, catalog.get, paths)
            total += sum(record.entry.size for record in records.values())
        return total * max(1.0, len(self._dirty) / max(1, len(keys)))

    def _oldest(self) -> list[tuple[Key, Pending]]:
        """Return what is owed; of very much, the longest owed and some of the others."""
        owed = list(islice(self._dirty.lacking(), MOST))
        if len(owed) < MOST:
            return owed
        # Of each step one, picked by chance: a list of 200,000 would take 30 ms.
        step = max(1, 2 * (len(self._dirty) - MOST // 2) // MOST)
        begin = MOST // 2 + random.randrange(step)  # noqa: S311  # no secret
        return owed[: MOST // 2] + list(islice(self._dirty.some(begin, step), MOST // 2))


def _is_found(debt: Pending) -> bool:
    """Return True for what a comparison has found, and not merely mode or owner."""
    return not debt.urgent and debt.owed > PendingKind.ATTRIBUTES


def _some(items: list[T], most: int = MOST) -> list[T]:
    return items if len(items) <= most else random.sample(items, most)
