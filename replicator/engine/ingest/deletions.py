"""What of that which is gone from a tree may be told: all but what a person must confirm first.

When a tree loses too much in one go, its deletions pause, also over a restart, until a person says that it was meant, or until
what was removed exists again (`npm ci`, or a deployment that removes a directory and makes it anew).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import islice

import structlog

from replicator.core.guard import STEADY, DeleteGuard
from replicator.engine.tree import Tree
from replicator.model import printable, renamed

log = structlog.get_logger()

RATE = 20
"""Times longer than a count of what is missing takes (1 s for a million paths) that the next one waits."""

RELEASED = 256
"""Deletions that are told in one go, about 20 ms: uploads are looked at and told in between."""


class Deletions:
    """Judges the deletions of one tree.

    Args:
        tree: the tree.

    Attributes:
        paused: why deletions wait for a person; empty if they do not.
        believed: a person has said that the source, which was in doubt, is right as it is: whatever is gone is told.
        unsent: how many deletions the pause keeps from the frontends; None: unknown, because an earlier release paused.
    """

    def __init__(self, tree: Tree) -> None:
        self.paused = tree.catalog.paused()
        self.believed = False
        self.unsent: int | None = 0
        if self.paused:
            noted = tree.catalog.withheld()
            self.unsent = noted[0] if noted else None
        self._tree = tree
        self._withheld: list[bytes] = []  # not recorded yet
        self._judged: dict[bytes, None] = {}  # may be told, and is not yet
        self._before = 0
        self._steady = -1, 0.0  # so many were missing, since when
        self._next_look = 0.0
        self._guard: DeleteGuard[bytes] = DeleteGuard(tree.delete_guard)
        self._guard.paused = bool(self.paused)

    @property
    def allowed(self) -> bool:
        """True if what is gone here shall go on the frontends."""
        return self._tree.delete and not self.paused

    @property
    def held(self) -> int:
        """How many wait until it is known how many there are, or to be told after that."""
        return len(self._guard.held) + len(self._judged)

    def holds(self, path: bytes) -> bool:
        """Return True for what is gone and held back: no comparison must tell it before it is clear how much that will be."""
        return path in self._guard.held or path in self._judged

    def renamed(self, source: bytes, target: bytes) -> None:
        """A rename is told: the frontends have what is held under its new name from now on."""
        self._guard.replace(lambda path: renamed(path, source, target))
        self._judged = {renamed(path, source, target): None for path in self._judged}

    def admit(self, gone: list[bytes], now: float, added: Iterable[bytes] = ()) -> list[bytes]:
        """Return what may be told at once of what is gone from the source and the catalog.

        It asks nobody, so that it cannot fail: what is not told now, nobody would find again. See `asks` afterwards.

        Args:
            gone: what is gone.
            now: seconds.
            added: new paths.
        """
        self._guard.added(added, now)
        if not self._tree.delete:
            return []
        if self.believed:
            return gone
        if self.paused and self.unsent is not None:
            self.unsent += len(gone)
            self._withheld += gone
        return list(self._guard.admit(gone, now))

    @property
    def asks(self) -> bool:
        """True when `judge` should be called."""
        return self._guard.asks or bool(self._withheld)

    def judge(self) -> None:
        """Pause if what is held back is too much already, and record what the pause withholds; blocks."""
        if self._guard.asks:
            self._judge(over=False)
        self._record()

    def is_ripe(self, now: float) -> bool:
        """Return True when it is time to `release` what is held back."""
        return self._guard.is_ripe(now)

    @property
    def releases(self) -> bool:
        """True when `release` should be called again: what was judged has not been told to the end."""
        return bool(self._judged)

    def release(self, most: int = RELEASED) -> list[bytes]:
        """Return some of what was held back and is still gone, if all of that is not too much; blocks."""
        if not self._judged:
            if self._guard.holding:
                self._judge(over=True)
            self._judged = dict.fromkeys(self._guard.release())
        some = list(islice(self._judged, most))
        back = self._tree.catalog.get(some)  # this may fail, and then they are still held
        if len(some) == len(self._judged):
            self._judged = {}
        else:
            for path in some:
                del self._judged[path]
        return [path for path in some if path not in back]

    def resume(self, now: float) -> bool:
        """End the pause if what was removed exists again, but for no more than may go without a question; blocks.

        Returns:
            True if the pause has ended. What is still missing is not told here: a comparison finds it.
        """
        if not self.paused or now < self._next_look:
            return False
        self._record()
        began = time.monotonic()
        noted = self._tree.catalog.withheld()
        self._next_look = now + RATE * (time.monotonic() - began)
        if noted is None:
            return False
        missing, before = noted
        self.unsent = missing
        if missing != self._steady[0]:
            self._steady = missing, now
        is_steady = not missing or now - self._steady[1] >= STEADY
        if self._guard.is_too_much(missing, before) or not is_steady:
            return False
        self._tree.catalog.unpause()
        self._go_on()
        self._guard.resume()
        log.info(
            "deletions resumed: what was removed is there again",
            tree=printable(self._tree.root),
            missing=missing,
            before=before,
        )
        return True

    def forget_pause(self) -> None:
        """Pause no more after the next start; blocks."""
        self._tree.catalog.unpause()

    def confirm(self, now: float, *, believe: bool) -> None:
        """A person says that what was removed was meant to be; with `believe`, that the source is right as it is."""
        self.believed = believe
        self._go_on()
        self._guard.confirm(now)

    def _go_on(self) -> None:
        self.paused = ""
        self.unsent = self._before = 0
        self._withheld.clear()
        self._steady = -1, 0.0

    def _judge(self, *, over: bool) -> None:
        held = list(self._guard.held)
        if self._guard.judge(self._tree.catalog.counts()[0], over=over):
            return
        self.unsent, self._withheld, self._before = len(held), held, self._guard.before
        self.paused = (
            f"{self._guard.lost} of {self._guard.before} paths were removed in one go, so no more deletions are sent."
            " If that was meant: `replicator resume`. If not: put the files back, and this ends by itself."
        )
        log.error("deletions paused", tree=printable(self._tree.root), reason=self.paused)
        self._record()

    def _record(self) -> None:
        """Record what the pause withholds, if something is new; what fails is recorded the next time."""
        if not self._withheld:
            return
        many = len(self._withheld)
        if not self._before:
            noted = self._tree.catalog.withheld()
            self._before = noted[1] if noted else 0
        self._tree.catalog.pause(self.paused, self._before, self._withheld[:many])
        del self._withheld[:many]
