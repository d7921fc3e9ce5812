"""When what looks deleted must not be believed.

A source is in doubt as a whole when it is empty, or another one: an unmounted volume looks like an empty directory (lsyncd
wiped its targets for it), a wrong one like another tree. And whatever the reason, a tree that loses most of its files in one
go waits for a person: an accident is over in seconds, and a backup takes hours.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from typing import Generic, TypeVar

from replicator.core.absences import GRACE

T = TypeVar("T", bound=Hashable)

FREE = 100
"""Deletions of one go that are always believed: people do that by hand."""

CALM = 2.0
"""Seconds without a deletion that end a go."""

HOLD = 10.0
"""Seconds that a deletion is held back at most, unless it is one too many: where files come and go all day, they shall go."""

MANY = 10_000
"""Deletions held back that are too much already while the go goes on. Fewer have time until it is over: a directory that is renamed
again and again is met under neither name for a moment."""

STEADY = 30.0
"""Seconds for which as many as may go without a question must have been missing, and no more, before a pause ends by itself: a
backup that is being put back stops for less between two files."""

YOUNG = GRACE
"""Seconds before a go: a path that is added within them, or during the go, and removed in the go, is no loss; such as a release that
is made, switched to and dropped again. By then the first path of the go was missing already, so what there was before is not meant."""

REMEMBERED = 100_000
"""New paths that are remembered: 15 MB. If one that was forgotten goes, it counts as lost."""

_CALM = "Nothing is deleted on the frontends, and replication goes on by itself when the source is back."


def doubt(*, known: int, met: int, vanished: int, replaced: bool, what: str = "The source") -> str:
    """Return why a full walk's result must not be believed; empty if it may.

    Args:
        known: paths that the catalog held.
        met: paths that the walk met.
        vanished: paths that were known and not met.
        replaced: the root is another directory (device, inode) than the one that the catalog describes. By itself that is
            no reason: device numbers change with a reboot, and a restored backup is a new directory.
        what: what was walked: the source, or a volume in it.
    """
    if known and not met:
        return f"{what} is empty, but {known} paths were known: is its volume mounted? {_CALM}"
    if replaced and 2 * vanished > known:
        return (
            f"{what} is another directory than before, and {vanished} of {known} known paths are not in it:"
            f" is the right volume mounted? {_CALM}"
        )
    return ""


class DeleteGuard(Generic[T]):
    """Judges the deletions of one go. What a comparison finds on a frontend alone is judged by `core.surplus`.

    The first hundred pass. What exceeds them is held until it is known how much there is, and what is left; then it passes, or
    everything is paused until `confirm`, or `resume`.

    Args:
        share: of what there was before; if more than that is lost, it is too much. 1: nothing ever is.

    Attributes:
        paused: too much was lost.
        lost, before: of how much; `before` is 0 until it is found out by the first judgement of a go.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self.paused = False
        self.lost = 0
        self.before = 0
        self._trusted = False
        self._held: dict[T, None] = {}
        self._gone = 0
        self._passed_at = 0
        self._look_at = 0
        self._began = self._since = self._last = 0.0
        self._added: OrderedDict[T, float] = OrderedDict()  # when, in the order of these times
        self._fleeting = 0

    @property
    def holding(self) -> bool:
        """True while deletions are held back."""
        return bool(self._held)

    @property
    def held(self) -> Collection[T]:
        """What is held back, in its order."""
        return self._held.keys()

    @property
    def asks(self) -> bool:
        """True when `judge` should be called: it costs a count of the tree."""
        return self.holding and self._gone >= self._look_at

    def added(self, paths: Iterable[T], now: float) -> None:
        """Take note of new paths: if they go in the same go, they are no loss."""
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

    def admit(self, gone: Sequence[T], now: float = 0.0) -> Sequence[T]:
        """Return those of `gone` that pass at once; the others are held, or dropped while paused."""
        if self.paused or not gone:
            return ()
        if not self.holding and (now - self._last > CALM or self._is_trickle(now)):
            self.calm()
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
        self._held.update(dict.fromkeys(gone))
        return ()

    def judge(self, left: int, *, over: bool = True) -> bool:
        """Return False, and pause, if too much is lost beside what is `left` in the tree now.

        Args:
            left: paths in the tree.
            over: False while the go goes on: what was lost may come back.

        What came meanwhile counts: a tree that was renamed, or copied and removed, has lost nothing.
        """
        if not self.before:
            self.before = left + self._gone - self._fleeting
        self.lost = self.before - left
        self._look_at = self._gone + max(FREE, self.before // 20)
        too_much = self.is_too_much(self.lost, self.before)
        if too_much and (over or len(self._held) >= MANY):
            self.paused = True
            self._held.clear()
        return not self.paused

    def is_too_much(self, lost: int, before: int) -> bool:
        """Return True if so many must not go without a question."""
        return lost > FREE and lost > self.share * before

    def is_ripe(self, now: float) -> bool:
        """Return True when what is held should be judged and released: nothing more goes, or it has waited long enough."""
        return self.holding and (now - self._last > CALM or now - self._since > HOLD)

    def _is_trickle(self, now: float) -> bool:
        return self._gone <= FREE and now - self._began > HOLD

    def release(self) -> list[T]:
        """Return what was held, in its order; it passes."""
        held, self._held = list(self._held), {}
        few = self._gone - self._passed_at <= FREE  # a trickle is no go, however long it takes
        self._passed_at = self._gone
        if few:
            self.calm()
        return held

    def replace(self, change: Callable[[T], T]) -> None:
        """Something happened to what is held: hold what `change` makes of it instead."""
        self._held = {change(one): None for one in self._held}

    def calm(self) -> None:
        """Begin another go."""
        self._gone = self._passed_at = self._look_at = self._fleeting = self.before = 0
        self._trusted = False

    def resume(self) -> None:
        """What was lost is there again: go on, and judge what goes from now on."""
        self.paused = False
        self.calm()

    def confirm(self, now: float) -> None:
        """A person says that it is meant: what is left of this go passes."""
        self.paused = False
        self._trusted = True
        self._last = now
