"""What of that which is gone from a tree may be told: all but what a person must confirm first.

When a tree loses too much in one go, its deletions pause, also over a restart, until somebody says that it was meant.
"""

from __future__ import annotations

import structlog

from replicator.core.guard import DeleteGuard
from replicator.engine.tree import Tree
from replicator.model import printable, renamed

log = structlog.get_logger()


class Deletions:
    """Judges the deletions of one tree.

    Args:
        tree: the tree.

    Attributes:
        paused: why deletions wait for a person; empty if they do not.
        believed: a person has said that the source, which was in doubt, is right as it is: whatever is gone is told.
        unsent: how many deletions the pause has kept from the frontends; None: unknown, because they were found before this start.
    """

    def __init__(self, tree: Tree) -> None:
        self.paused = tree.catalog.paused()
        self.believed = False
        self.unsent: int | None = None if self.paused else 0
        self._tree = tree
        self._guard: DeleteGuard[bytes] = DeleteGuard(tree.delete_guard)
        self._guard.paused = bool(self.paused)

    @property
    def allowed(self) -> bool:
        """True if what is gone here shall go on the frontends."""
        return self._tree.delete and not self.paused

    @property
    def held(self) -> int:
        """How many wait until it is known how many there are."""
        return len(self._guard.held)

    def holds(self, path: bytes) -> bool:
        """Return True for what is gone and held back: no comparison must tell it before it is clear how much that will be."""
        return path in self._guard.held

    def renamed(self, source: bytes, target: bytes) -> None:
        """A rename is told: the frontends have what is held under its new name from now on."""
        self._guard.replace(lambda path: renamed(path, source, target))

    def admit(self, gone: list[bytes], now: float) -> list[bytes]:
        """Return what may be told at once of what is gone from the source and the catalog.

        It asks nobody, so that it cannot fail: what is not told now, nobody would find again. See `asks` afterwards.
        """
        if not self._tree.delete:
            return []
        if self.believed:
            return gone
        if self.paused and self.unsent is not None:
            self.unsent += len(gone)
        return list(self._guard.admit(gone, now))

    @property
    def asks(self) -> bool:
        """True when `judge` should be called."""
        return self._guard.asks

    def judge(self) -> None:
        """Pause if what is held back is too much already; blocks."""
        self._judge(over=False)

    def is_ripe(self, now: float) -> bool:
        """Return True when it is time to `release` what is held back."""
        return self._guard.is_ripe(now)

    def release(self) -> list[bytes]:
        """Return what was held back and is still gone, if that is not too much; blocks."""
        if self._guard.holding:
            self._judge(over=True)
        back = self._tree.catalog.get(
            list(self._guard.held)
        )  # this may fail, and then they are still held
        return [path for path in self._guard.release() if path not in back]

    def forget_pause(self) -> None:
        """Pause no more after the next start; blocks."""
        self._tree.catalog.set_paused("")

    def confirm(self, now: float, *, believe: bool) -> None:
        """A person says that what was removed was meant to be; with `believe`, that the source is right as it is."""
        self.believed = believe
        self.paused = ""
        self.unsent = 0
        self._guard.confirm(now)

    def _judge(self, *, over: bool) -> None:
        held = len(self._guard.held)
        if self._guard.judge(self._tree.catalog.counts()[0], over=over):
            return
        self.unsent = held
        self.paused = (
            f"{self._guard.lost} of {self._guard.before} paths were removed in one go, so no more deletions are sent."
            " If that was meant: `replicator resume`. If not: put the files back, then `replicator resume`."
        )
        self._tree.catalog.set_paused(self.paused)
        log.error("deletions paused", tree=printable(self._tree.root), reason=self.paused)
