"""What one frontend lacks although others have it, and has lacked for longer than sending it takes.

What all frontends lack (a path that none of them accepts, or a large upload that is being sent) is no reason to take any of them out
of service: the load balancer would replace all of them, and the new ones would lack it as well.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from concurrent.futures import Executor
from itertools import islice
from typing import TypeVar

from replicator.core.dirty import DirtySet
from replicator.core.pending import Key, Pending, PendingKind
from replicator.engine.context import Context, Peer
from replicator.model import ROOT

T = TypeVar("T")

SLOWEST = 1 << 20
"""Minimum bytes per second of a network connection: for each MiB that is pending, a frontend may lag one second more."""

MOST = 500
"""Pending paths that are examined in one update: 10 ms with a hundred frontends."""


class PeerLag:
    """The pending paths of one frontend that others have. A frontend that is the only one lacks all its pending paths alone.

    Args:
        dirty: the dirty paths of the frontend.
        context: the other frontends, and the trees.
    """

    def __init__(self, dirty: DirtySet, context: Context) -> None:
        self._dirty = dirty
        self._context = context
        self._since: dict[Key, float] = {}
        self._shared: set[Key] = set()

    def is_own(self, key: Key) -> bool:
        """Return True if another frontend holds a path, or there is no other and the tree is not paused."""
        if others := self._others():
            return any(peer.has_current(key) for peer in others)
        tree = self._context.trees.get(key.tree)
        return tree is None or tree.pause is None

    def others_follow(self, trees: Iterable[int]) -> bool:
        """Return True if another frontend was compared with one of these trees, so that it lacks only its dirty paths."""
        others = self._others()
        return any(peer.has_current(Key(tree, ROOT)) for tree in trees for peer in others)

    def _others(self) -> list[Peer]:
        return [peer for peer in self._context.peers() if peer.dirty is not self._dirty]

    def update(self, now: float) -> None:
        """Record which pending paths only this frontend lacks, and since when at most. Must be called about every second."""
        oldest = self._oldest()
        own = {key: pending for key, pending in oldest if self.is_own(key)}
        alone = len(list(islice(self._context.peers(), 2))) < 2
        self._shared = {key for key, _ in oldest if key not in own or key in self._shared}
        self._since = {
            key: self._since.get(key, pending.since if alone or key not in self._shared else now)
            for key, pending in own.items()
        }

    def misses(self, trees: set[int]) -> bool:
        """Return True if a comparison of one of the trees has found something missing that others had already."""
        found = (key for key, one in self._oldest() if key.tree in trees and _is_found(one))
        return any(key in self._since and key not in self._shared for key in found)

    def refuses(self) -> bool:
        """Return True if the frontend refuses a path that others hold."""
        return any(map(self.is_own, _sample(list(self._dirty.refusals()))))

    async def lags(self, now: float, allowed: float, pool: Executor) -> bool:
        """Return True if only this frontend lacks a path, for longer than `allowed` seconds and the time that its bytes take."""
        oldest = min(self._since.values(), default=now)
        if now - oldest <= allowed:
            return False
        return now - oldest > allowed + await self._bytes_pending(pool) / SLOWEST

    async def _bytes_pending(self, pool: Executor) -> float:
        keys = [key for key, pending in self._oldest() if pending.kind >= PendingKind.DELTA]
        total = 0
        for number, tree in list(self._context.trees.items()):
            catalog, paths = tree.catalog, [key.path for key in keys if key.tree == number]
            records = await asyncio.get_running_loop().run_in_executor(pool, catalog.get, paths)
            total += sum(record.entry.size for record in records.values())
        return total * max(1.0, len(self._dirty) / max(1, len(keys)))

    def _oldest(self) -> list[tuple[Key, Pending]]:
        """Return the pending paths; of more than MOST, the oldest and a sample of the others."""
        oldest = list(islice(self._dirty.sendable(), MOST))
        if len(oldest) < MOST:
            return oldest
        # One of each step, from a random start: a list of 200,000 would take 30 ms.
        step = max(1, 2 * (len(self._dirty) - MOST // 2) // MOST)
        begin = MOST // 2 + random.randrange(step)  # noqa: S311  # not a secret
        return oldest[: MOST // 2] + list(islice(self._dirty.sendable(begin, step), MOST // 2))


def _is_found(pending: Pending) -> bool:
    """Return True for a path whose content a comparison has found missing."""
    return not pending.urgent and pending.kind > PendingKind.ATTRIBUTES


def _sample(items: list[T], most: int = MOST) -> list[T]:
    return items if len(items) <= most else random.sample(items, most)
