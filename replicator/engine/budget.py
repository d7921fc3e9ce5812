"""Bound how many paths all frontends together are owed: a limit for each of them is none for a fleet.

Measured with 100,000 paths of 35 bytes: 100 bytes for each path, which all frontends share, and 380 for each frontend that is
owed it. Past a limit the frontend that is owed most forgets its paths, and is compared with everything instead. A frontend
that is not connected goes first: it is compared anyway when it connects again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

AWAY = 200_000
"""Paths owed to all frontends that are not connected: about 75 MiB."""

ALL = 1_000_000
"""Paths owed to all frontends: about 370 MiB. A burst of 10,000 files is owed to a hundred connected frontends until they answer.
Far above what a comparison marks at a time (see engine.comparisons), or comparisons would never end."""

STEP = 2_000
"""Paths that may be marked between two counts: a hundredth of the smaller limit."""


class Debtor(Protocol):
    """A frontend that is owed paths."""

    @property
    def owed(self) -> int:
        """How many paths it is owed."""

    @property
    def away(self) -> bool:
        """True if it is not connected."""

    def forget_owed(self) -> None:
        """Forget what it is owed path by path, and compare everything instead."""


class Budget:
    """The limits of all frontends together.

    Args:
        debtors: returns all frontends.

    Attributes:
        away: limit of the paths owed to those that are not connected.
        most: limit of the paths owed to all.
    """

    def __init__(
        self,
        debtors: Callable[[], Iterable[Debtor]] = tuple,
        away: int = AWAY,
        most: int = ALL,
    ) -> None:
        self._debtors = debtors
        self.away = away
        self.most = most
        self._step = min(STEP, away // 10)
        self._left = self._step

    def marked(self, count: int) -> None:
        """Count that up to `count` paths were marked for one frontend; keep the limits."""
        self._left -= count
        if self._left < 0:
            debtors = list(self._debtors())
            room = _collapse([one for one in debtors if one.away], self.away)
            # Whoever is away forgets before anybody who is connected does.
            room = min(room, _collapse(debtors, self.most))
            self._left = max(room, self._step)


def _collapse(debtors: list[Debtor], limit: int) -> int:
    """Have the frontends that are owed most forget it until all are owed at most `limit`; return what is left of that."""
    total = sum(one.owed for one in debtors)
    if total > limit:
        for debtor in sorted(debtors, key=lambda one: (one.away, one.owed), reverse=True):
            total -= debtor.owed
            debtor.forget_owed()
            if total <= limit:
                break
    return limit - total
