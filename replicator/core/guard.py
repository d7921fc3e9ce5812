"""Protection against accidental mass deletion.

A scan is rejected as a whole if the source is empty or another directory: an unmounted volume looks like an empty directory (for
which lsyncd wiped its targets), a wrong volume like another tree. Independently of that, deletions of most of a tree within a
short time, here called a burst, are held until an operator confirms them: an accident takes seconds, and restoring a backup hours.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from replicator.core.path_set import PathSet
from replicator.core.rechecks import GRACE

FREE = 100
"""Deletions of one burst that are always allowed: people delete that many by hand."""

CALM = 2.0
"""Seconds without a deletion after which a burst is over."""

HOLD = 10.0
"""Maximum seconds for which an acceptable number of deletions is held, so that they are released even under continuous churn."""

MANY = 10_000
"""Held deletions at which a pause may begin before the burst is over. With fewer, it begins only after the burst, because a directory
that is renamed repeatedly is for a moment found under neither name."""

STEADY = 30.0
"""Seconds for which an acceptable number of paths, and no more, must have been missing before a pause ends by itself. Restoring a backup
takes less than that from one file to the next."""

YOUNG = GRACE
"""Seconds before a burst. A path that is added in this time, or during the burst, and deleted in the burst does not count as lost:
a release that is created, activated and removed again. Equal to the grace period of `core.rechecks`, because the first path of a
burst is missing for that long before its deletion is reported."""

REMEMBERED = 100_000
"""New paths that are remembered: 15 MB. A deleted path that was forgotten counts as lost."""

_RESUMES = "Nothing is deleted on the frontends, and replication goes on by itself when the source is back."


def rejection(
    *, known: int, met: int, vanished: int, replaced: bool, what: str = "The source"
) -> str:
    """Return why the result of a full scan must be rejected; empty if it is accepted.

    Args:
        known: paths in the catalog before the scan.
        met: paths that the scan found.
        vanished: paths in the catalog that the scan did not find.
        replaced: the root is another directory (device, inode) than the one that the catalog describes. That alone is no reason
            to reject: device numbers change with a reboot, and a restored backup is a new directory.
        what: name of what was scanned, for the text: the source, or a volume in it.
    """
    if known and not met:
        return f"{what} is empty, but {known} paths were known: is its volume mounted? {_RESUMES}"
    if replaced and 2 * vanished > known:
        return (
            f"{what} is another directory than before, and {vanished} of {known} known paths are not in it:"
            f" is the right volume mounted? {_RESUMES}"
        )
    return ""


class DeleteGuard:
    """Holds deletions on the source back until they are known not to be a mass deletion.

    The first FREE deletions of a burst pass. Further ones are held until `decide` has compared their number with the size of the
    tree: then they are released, or all deletions are paused until `confirm` or `resume`. Deletions of paths that exist only on a
    frontend are limited by `core.surplus`.

    Args:
        share: fraction of the tree, 0..1, that may be lost in one burst; 1 disables the guard.

    Attributes:
        paused: True after too much was lost.
        lost: paths lost in this burst, as of the last `decide`.
        before: paths in the tree before this burst; 0 until the first `decide` of the burst.
        held: the held deletions, in their order.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self.paused = False
        self.lost = 0
        self.before = 0
        self._trusted = False
        self.held = PathSet()
        self._gone = 0
        self._passed_at = 0
        self._decide_at = 0
        self._began = self._since = self._last = 0.0
        self._added: OrderedDict[bytes, float] = OrderedDict()  # when, in the order of these times
        self._fleeting = 0

    @property
    def holding(self) -> bool:
        """True while deletions are held back."""
        return bool(self.held)

    @property
    def needs_decision(self) -> bool:
        """True when `decide` should be called. The caller must count the tree for it, so it is not called for each deletion."""
        return self.holding and self._gone >= self._decide_at

    def added(self, paths: Iterable[bytes], now: float) -> None:
        """Remember new paths: their deletion in the same burst does not count as a loss."""
        for path in paths:
            self._added[path] = now
            self._added.move_to_end(path)
        goes_on = self._gone and (self.holding or now - self._last <= CALM)
        since = (self._began if goes_on else now) - YOUNG
        while self._added:
            oldest = next(iter(self._added))
            if self._added[oldest] >= since and len(self._added) <= REMEMBERED:
                break
            del self._added[oldest]

    def admit(self, gone: Sequence[bytes], now: float = 0.0) -> Sequence[bytes]:
        """Return those of `gone` that may be deleted at once; hold the others, or drop them while paused."""
        if self.paused or not gone:
            return ()
        if not self.holding and (now - self._last > CALM or self._is_trickle(now)):
            self.start_burst()
        if not self._gone:
            self._began = now
        self._last = now
        self._gone += len(gone)
        if self._added:
            since = self._began - YOUNG
            self._fleeting += sum(self._added.pop(path, -math.inf) >= since for path in gone)
        if self._trusted or self.share >= 1 or self._gone <= FREE:
            return gone
        if not self.holding:
            self._since = now
        for path in gone:
            self.held.add(path)
        return ()

    def decide(self, left: int, *, over: bool = True) -> bool:
        """Pause and return False if too much is lost; else return True. After a pause, the caller calls `withhold`.

        The loss is the difference of the tree's sizes, so new paths compensate for deleted ones: a tree that was renamed, or copied
        and removed, has lost nothing.

        Args:
            left: paths in the tree now.
            over: False while the burst continues: then only MANY held deletions cause a pause.
        """
        if not self.before:
            self.before = left + self._gone - self._fleeting
        self.lost = self.before - left
        self._decide_at = self._gone + max(FREE, self.before // 20)
        too_much = self.is_too_much(self.lost, self.before)
        if too_much and (over or len(self.held) >= MANY):
            self.paused = True
        return not self.paused

    def withhold(self) -> None:
        """Forget the held deletions, because of a pause."""
        self.held = PathSet()

    def is_too_much(self, lost: int, before: int) -> bool:
        """Return True if the loss of `lost` out of `before` paths needs a confirmation."""
        return lost > FREE and lost > self.share * before

    def is_ripe(self, now: float) -> bool:
        """Return True when `decide` should decide about the held deletions: after CALM seconds without a deletion, or after HOLD seconds."""
        return self.holding and (now - self._last > CALM or now - self._since > HOLD)

    def _is_trickle(self, now: float) -> bool:
        return self._gone <= FREE and now - self._began > HOLD

    def release(self) -> PathSet:
        """Remove and return the held deletions, in their order."""
        held, self.held = self.held, PathSet()
        few = self._gone - self._passed_at <= FREE  # slow continuous deletions are no burst
        self._passed_at = self._gone
        if few:
            self.start_burst()
        return held

    def start_burst(self) -> None:
        """Start a new burst."""
        self._gone = self._passed_at = self._decide_at = self._fleeting = self.before = 0
        self._trusted = False

    def resume(self) -> None:
        """End the pause because the lost paths exist again; a new burst starts."""
        self.paused = False
        self.start_burst()

    def confirm(self, now: float) -> None:
        """End the pause because an operator confirmed the deletions; the rest of this burst passes."""
        self.paused = False
        self._trusted = True
        self._last = now
