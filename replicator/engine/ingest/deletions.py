"""Holds deletions back until they are known not to be a mass deletion.

When a tree loses too much in one go, its deletions pause, also over a restart, until an operator confirms them, or until the removed
paths exist again (`npm ci`, or a deployment that removes a directory and creates it anew).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from itertools import chain, islice

import structlog

from replicator.core.guard import STEADY, DeleteGuard
from replicator.core.path_set import PathSet
from replicator.engine.tree import Tree
from replicator.model import printable

log = structlog.get_logger()

RATE = 20
"""Pause before the next count of the missing paths, in multiples of the time that the last one took (1 s for a million paths)."""

SAMPLE = 20
"""Withheld deletions that are kept to be shown by name."""

RELEASED = 256
"""Held deletions that are published at once, in about 20 ms: uploads are checked and published in between."""


class Deletions:
    """Decides which deletions of one tree are published.

    Args:
        tree: the tree.

    Attributes:
        paused: the reason why deletions wait for an operator; empty if they do not.
        source_confirmed: an operator has confirmed that the source, which was in doubt, is right as it is: all deletions are published.
        unsent: number of deletions that the pause withholds from the frontends; None: unknown, because an earlier release paused.
    """

    def __init__(self, tree: Tree) -> None:
        self.paused = tree.catalog.paused()
        self.source_confirmed = False
        self.unsent: int | None = 0
        self._sample: list[bytes] = []
        if self.paused:
            withheld = tree.catalog.withheld()
            self.unsent = withheld[0] if withheld else None
            self._sample = tree.catalog.withheld_samples(SAMPLE)
        self._tree = tree
        self._expected: frozenset[bytes] = frozenset()
        self._withheld: list[bytes] = []  # not recorded yet
        self._recording = threading.Lock()  # held while the record of a pause is changed
        self._is_confirmed = False  # the pause that is recorded
        self._released = PathSet()  # not withheld any more, and not published yet
        self._before = 0
        self._steady = (
            -1,
            0.0,
        )  # number of missing paths, and the time since when it has not changed
        self._next_count = 0.0
        self._guard = DeleteGuard(tree.delete_guard)
        self._guard.paused = bool(self.paused)

    @property
    def allowed(self) -> bool:
        """True if deletions on the source are to be published."""
        return self._tree.delete and not self.paused

    @property
    def held(self) -> int:
        """Number of deletions that are held back, or to be published after that."""
        return len(self._guard.held) + len(self._released)

    def is_held(self, path: bytes) -> bool:
        """Return True if the deletion of a path is held back: a comparison must not send it before the total is known."""
        return path in self._expected or path in self._guard.held or path in self._released

    def expect(self, gone: Iterable[bytes]) -> None:
        """Hold these paths, instead of those of the last call, until `admit` decides.

        The caller is about to delete them from the catalog. A comparison that runs before `admit` finds them only on the frontend.
        """
        self._expected = frozenset(gone)

    def samples(self, most: int) -> list[bytes]:
        """Return some of the paths whose deletion is held back, or withheld by a pause."""
        held = islice(chain(self._guard.held, self._released), most)
        return self._sample[:most] if self.paused else list(held)

    def held_paths(self) -> list[bytes]:
        """Return the paths that are held back, or released and not published yet."""
        return [*self._guard.held, *self._released]

    def renamed(self, source: bytes, target: bytes) -> None:
        """Record that a rename was published: the frontends have the held paths by their new names."""
        self._guard.held.rename(source, target)
        self._released.rename(source, target)

    def admit(self, gone: list[bytes], now: float, added: Iterable[bytes] = ()) -> list[bytes]:
        """Return the deletions that may be published at once; hold the others, or withhold them during a pause.

        This method reads nothing, so that it cannot fail: the paths are no longer in the catalog, and nothing would find them again.
        The caller checks `needs_decision` afterwards.

        Args:
            gone: paths that were deleted on the source and from the catalog; those of `expect`.
            now: the current time, in seconds.
            added: new paths.
        """
        self._guard.added(added, now)
        admitted = self._admit(gone, now)
        self._expected = frozenset()  # after `_admit`: a comparison may ask at any moment
        return admitted

    def _admit(self, gone: list[bytes], now: float) -> list[bytes]:
        if not self._tree.delete:
            return []
        if self.source_confirmed:
            return gone
        if self.paused and self.unsent is not None:
            self.unsent += len(gone)
            self._withheld += gone
        return list(self._guard.admit(gone, now))

    @property
    def needs_decision(self) -> bool:
        """True when `decide` should be called."""
        return self._guard.needs_decision or bool(self._withheld)

    def decide(self) -> None:
        """Pause if too much is held back already, and record what the pause withholds; blocks."""
        if self._guard.needs_decision:
            self._decide(over=False)
        self._record()

    def is_ripe(self, now: float) -> bool:
        """Return True when it is time to call `release`."""
        return self._guard.is_ripe(now)

    @property
    def has_released(self) -> bool:
        """True when `release` should be called again: it has not returned all deletions that were released."""
        return bool(self._released)

    def release(self, most: int = RELEASED) -> list[bytes]:
        """Return some of the held deletions whose paths are still gone, unless all of them together are a mass deletion; blocks."""
        if not self._released:
            if self._guard.holding:
                self._decide(over=True)
            self._released = self._guard.release()
        some = list(islice(self._released, most))
        back = self._tree.catalog.get(some)  # if this fails, they are still held
        for path in some:
            self._released.discard(path)
        return [path for path in some if path not in back]

    def may_resume(self, now: float) -> bool:
        """Delete the record of the pause if the removed paths exist again, except for an acceptable number; blocks.

        Returns:
            True if it was deleted: the caller calls `resume`.
        """
        if not self.paused or now < self._next_count:
            return False
        self._record()
        began = time.monotonic()
        withheld = self._tree.catalog.withheld()
        self._next_count = now + RATE * (time.monotonic() - began)
        if withheld is None:
            return False
        missing, before = withheld
        self.unsent = missing
        if missing != self._steady[0]:
            self._steady = missing, now
        is_steady = not missing or now - self._steady[1] >= STEADY
        if self._guard.is_too_much(missing, before) or not is_steady:
            return False
        self._tree.catalog.unpause()
        log.info(
            "deletions resumed: what was removed is there again",
            tree=printable(self._tree.root),
            missing=missing,
            before=before,
        )
        return True

    def resume(self) -> None:
        """End the pause. Paths that are still missing are not published: the caller requests a comparison, without an await in between."""
        self._end_pause()
        self._guard.resume()

    def forget_pause(self) -> None:
        """Delete the record of the pause that `confirm` has ended, so that it does not continue after a restart; blocks.

        The record of a later pause, which may have begun meanwhile, is kept.
        """
        with self._recording:
            self._forget()

    def _forget(self) -> None:
        if self._is_confirmed:
            self._tree.catalog.unpause()
            self._is_confirmed = False

    def confirm(self, now: float, *, source: bool) -> None:
        """End the pause, as an operator confirmed; with `source`, also accept the source as it is."""
        self.source_confirmed = source
        self._end_pause()
        self._is_confirmed = True  # last, because another thread may be recording
        self._guard.confirm(now)

    def _end_pause(self) -> None:
        self.paused = ""
        self.unsent = self._before = 0
        self._withheld.clear()
        self._steady = -1, 0.0

    def _decide(self, *, over: bool) -> None:
        if self._guard.decide(self._tree.catalog.counts()[0], over=over):
            return
        held = list(self._guard.held)
        self.unsent, self._withheld, self._before = len(held), held, self._guard.before
        self._sample = held[:SAMPLE]
        self.paused = (
            f"{self._guard.lost} of {self._guard.before} paths were removed in one go, so no more deletions are sent."
            " If that was meant: `replicator resume`. If not: put the files back, and this ends by itself."
        )
        log.error("deletions paused", tree=printable(self._tree.root), reason=self.paused)
        self._guard.withhold()  # after `paused` is set: `is_held` or `allowed` keeps each path at any moment
        self._record()

    def _record(self) -> None:
        """Record what the pause withholds, if something is new; if that fails, the next call records it."""
        if not self._withheld:
            return
        with self._recording:
            self._forget()
            many = len(self._withheld)
            if not self._before:
                withheld = self._tree.catalog.withheld()
                self._before = withheld[1] if withheld else 0
            self._tree.catalog.pause(self.paused, self._before, self._withheld[:many])
            del self._withheld[:many]
