"""Limit the number of dirty paths of all frontends together, because a limit for each one does not limit a fleet.

Measured with 100,000 paths of 35 bytes: each path takes 100 bytes, which all frontends share, and 380 bytes for each frontend for
which it is dirty. Beyond a limit, the dirty set of the frontend with the most paths is cleared, and that frontend is compared with everything instead.
Frontends that are not connected are cleared first: they are compared anyway when they connect again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

AWAY = 200_000
"""Dirty paths of all disconnected frontends at most: about 75 MiB."""

ALL = 1_000_000
"""Dirty paths of all frontends at most: about 370 MiB. A burst of 10,000 files is dirty for a hundred connected frontends until they
answer. Must be far above what a comparison marks at a time (`HIGH_WATER` of frontend.comparisons), or comparisons would never end."""

STEP = 2_000
"""Paths that may be marked between two counts: a hundredth of the smaller limit."""


class Debtor(Protocol):
    """A frontend with its dirty paths."""

    @property
    def owed(self) -> int:
        """Number of dirty paths."""

    @property
    def away(self) -> bool:
        """True if it is not connected."""

    def forget_owed(self) -> None:
        """Clear the dirty set, and compare everything instead."""


class Budget:
    """The limits of all frontends together.

    Args:
        debtors: returns all frontends.

    Attributes:
        away: limit of the dirty paths of disconnected frontends.
        most: limit of the dirty paths of all frontends.
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
        """Record that up to `count` paths were marked dirty for one frontend, and enforce the limits."""
        self._left -= count
        if self._left < 0:
            debtors = list(self._debtors())
            room = _clear([one for one in debtors if one.away], self.away)
            # Disconnected frontends are cleared before connected ones.
            room = min(room, _clear(debtors, self.most))
            self._left = max(room, self._step)


def _clear(debtors: list[Debtor], limit: int) -> int:
    """Clear the largest dirty sets until all together are within `limit`; return how many paths are left up to it."""
    total = sum(one.owed for one in debtors)
    if total > limit:
        for debtor in sorted(debtors, key=lambda one: (one.away, one.owed), reverse=True):
            total -= debtor.owed
            debtor.forget_owed()
            if total <= limit:
                break
    return limit - total
