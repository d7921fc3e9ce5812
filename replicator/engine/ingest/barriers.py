"""Barriers: find out when everything that hints had named at a time is published.

A hint is answered by a check, which may lead to further ones: of a file that is open for writing, of a missing path after its grace
period, of a symlink after new files, of a large file that is read in the background, of other names of an inode. Deletions may be held back. The changes of later
hints are not waited for, so that a tree that changes all the time passes a barrier as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import chain

from replicator.core.debouncer import Debouncer
from replicator.engine.ingest.deletions import Deletions
from replicator.engine.ingest.worker import Worker
from replicator.engine.loop import loop_time
from replicator.model import is_within, printable

PAUSE = 20
"""Pause after each call of `update`, in multiples of the time that it took: 30 ms if 100,000 checks are pending that no barrier waits for."""


class Barrier:
    """One barrier.

    Args:
        path: the barrier concerns what is at and below it.
        since: all hints until this time.

    Attributes:
        passed_at: when everything had been published; None before. What is published is dirty until a frontend confirms it.
        waits_for: what is not published yet, as a clause; empty if that is unknown.
    """

    def __init__(self, path: bytes, since: float) -> None:
        self.path = path
        self.since = since
        self.passed_at: float | None = None
        self.waits_for = ""
        self.pending: list[bytes] | None = None
        self.renames = 0


class Barriers:
    """The barriers of one tree.

    Args:
        debouncer: pending checks.
        worker: has the schedules of further checks.
        deletions: deletions that are held back.
        wake: makes the pipeline call `update` soon, even if nothing is due.

    Attributes:
        update_soon: the callback `wake`.
    """

    def __init__(
        self,
        debouncer: Debouncer,
        worker: Worker,
        deletions: Deletions,
        wake: Callable[[], None],
    ) -> None:
        self._debouncer = debouncer
        self._worker = worker
        self._deletions = deletions
        self.update_soon = wake
        self._barriers: set[Barrier] = set()
        self._next_update = 0.0

    def add(self, path: bytes, since: float) -> Barrier:
        """Return a new barrier; the checks that it waits for are made without a cooldown.

        Args:
            path: the barrier concerns what is at and below it.
            since: all hints until this time, which must have been given to the debouncer.
        """
        self._debouncer.hurry(path, since, loop_time())
        barrier = Barrier(path, since)
        self._barriers.add(barrier)
        self.update_soon()
        return barrier

    def remove(self, barrier: Barrier) -> None:
        """Forget a barrier."""
        self._barriers.discard(barrier)

    def update(self) -> None:
        """Find out which barriers are passed. The pipeline calls this while no check is in progress."""
        began = loop_time()
        if not self._barriers or began < self._next_update:
            return
        clock = time.monotonic()
        for barrier in list(self._barriers):
            barrier.waits_for = self._waits_for(barrier)
            if not barrier.waits_for:
                barrier.passed_at = began
                self._barriers.discard(barrier)
        self._next_update = began + PAUSE * (time.monotonic() - clock)

    def _waits_for(self, barrier: Barrier) -> str:
        path = self._debouncer.unanswered(barrier.path, barrier.since)
        if path is not None:
            barrier.pending = None  # that check may lead to further ones
            written = self._debouncer.is_being_written(path)
            return f"{printable(path)} is {'being written' if written else 'to be checked'}"
        if barrier.pending is None or barrier.renames != self._worker.rechecks.renames:
            barrier.pending = self._pending_checks(barrier.path)
            barrier.renames = self._worker.rechecks.renames
        while barrier.pending:
            path = barrier.pending[-1]
            if reason := self._state_of(path):
                return f"{printable(path)} {reason}"
            barrier.pending.pop()
        return ""

    def _pending_checks(self, path: bytes) -> list[bytes]:
        every: Iterable[bytes] = chain(
            self._worker.background,
            self._worker.put_off,
            self._worker.rechecks.missing_paths(),
            self._deletions.held_paths(),
        )
        return [one for one in every if is_within(one, path)]

    def _state_of(self, path: bytes) -> str:
        if path in self._worker.background:
            return "is being read"
        if path in self._worker.put_off:
            return "is a symlink that waits for new files"
        if self._worker.rechecks.is_missing(path):
            return "is missing for less than its grace period"
        return "is a deletion that is held back" if self._deletions.is_held(path) else ""
