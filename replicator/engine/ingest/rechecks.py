"""What looks leave to be done a little later: stamps that were too fresh are confirmed, what could not be read is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from itertools import islice

import structlog

from replicator.engine.ingest.scan_result import ScanResult
from replicator.engine.tree import Tree
from replicator.model import printable
from replicator.ports import Record

log = structlog.get_logger()

TROUBLE_RETRY = 10.0
"""Seconds between two looks at paths that could not be read: a chmod of a parent directory tells us nothing."""


CONFIRMED = 500
"""Stamps that are confirmed in one go, 10 us each: what changes meanwhile waits for that."""


class Rechecks:
    """What is left to be done of one tree.

    Args:
        tree: the tree.
        pool: where blocking work runs.
    """

    def __init__(self, tree: Tree, pool: Executor) -> None:
        self._tree = tree
        self._pool = pool
        self._unstable: dict[bytes, Record] = {}
        self._in_turn: dict[bytes, Record] = {}
        self._troubled: set[bytes] = set()
        self._next_trouble = 0.0

    def note(self, found: ScanResult, ahead: Container[bytes]) -> None:
        """Remember what was found and is not over.

        Args:
            found: by a look.
            ahead: large files that are being read, which is no trouble.
        """
        self._unstable.update((record.path, record) for record in found.unstable)
        for update in found.updates:
            path, problem = update.record.path, update.record.problem
            if path in found.unsettled or path in ahead:
                continue
            if problem:
                self._failed(update.record)
            else:
                self._troubled.discard(path)
        for record in found.unread:
            if record.path not in self._troubled:  # known from before a restart
                self._failed(record)
        self._troubled.difference_update(found.gone)

    def _failed(self, record: Record) -> None:
        self._troubled.add(record.path)
        log.warning("unreadable", path=printable(record.path), reason=record.problem)

    def troubles(self) -> list[bytes]:
        """Return paths whose content cannot be read at present; a hundred at most."""
        return sorted(self._troubled)[:100]

    def retries(self, now: float) -> list[bytes]:
        """Return the paths that could not be read, if it is time to look at them again."""
        if now < self._next_trouble or not self._troubled:
            return []
        self._next_trouble = now + TROUBLE_RETRY
        return list(self._troubled)

    @property
    def unconfirmed(self) -> bool:
        """True while `confirm` has left some, and should be called again soon."""
        return bool(self._in_turn)

    async def confirm(self) -> list[bytes]:
        """Believe the stamps that were too fresh when they were taken, if they are still the same; of many, the first ones.

        Returns:
            What is not, although nobody has hinted at it: changed under a name outside of the tree, for example.
        """
        debouncer = self._tree.debouncer
        if not self._in_turn:
            self._in_turn, self._unstable = self._unstable, {}
        some = list(islice(self._in_turn.values(), CONFIRMED))
        ripe = [record for record in some if not debouncer.is_pending(record.path)]
        changed: list[bytes] = []
        if ripe:
            loop = asyncio.get_running_loop()
            changed = await loop.run_in_executor(self._pool, _confirm, self._tree, ripe)
        for record in some:
            del self._in_turn[record.path]
        return changed


def _confirm(tree: Tree, unstable: Sequence[Record]) -> list[bytes]:
    stable, changed = [], []
    current = tree.catalog.get([record.path for record in unstable])
    for record in unstable:
        if current.get(record.path) != record:
            continue
        with suppress(OSError):  # its directory cannot be read any more: it stays in doubt
            seen = tree.source.look(record.path)
            if seen is not None and seen.stamp == record.stamp:
                stable.append(record._replace(stable=True))
            else:
                changed.append(record.path)
    tree.catalog.apply(stable, (), {})
    return changed
