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
answer. Must be far above what a comparison marks at a time (`HIGH_WATER` of engine.frontend.comparisons), or comparisons would never end."""

STEP = 2_000
"""Paths that may be marked between two counts: a hundredth of the smaller limit."""


class ClearablePaths(Protocol):
    """The dirty paths of one frontend; see `engine.frontend.pending_paths`.

    Attributes:
        is_connected: True if the frontend is connected.
    """

    is_connected: bool

    def __len__(self) -> int:
        """Return the number of dirty paths."""

    def clear(self, limit: str) -> None:
        """Drop all dirty paths, and request a comparison of everything instead; `limit` is for the log."""


class Budget:
    """The limits of all frontends together.

    Args:
        frontends: returns the dirty paths of each frontend.

    Attributes:
        away: limit of the dirty paths of disconnected frontends.
        most: limit of the dirty paths of all frontends.
    """

    def __init__(
        self,
        frontends: Callable[[], Iterable[ClearablePaths]] = tuple,
        away: int = AWAY,
        most: int = ALL,
    ) -> None:
        self._frontends = frontends
        self.away = away
        self.most = most
        self._step = min(STEP, away // 10)
        self._left = self._step

    def marked(self, count: int) -> None:
        """Record that up to `count` paths were marked dirty for one frontend, and enforce the limits."""
        self._left -= count
        if self._left < 0:
            frontends = list(self._frontends())
            room = _clear([one for one in frontends if not one.is_connected], self.away)
            # Disconnected frontends are cleared before connected ones.
            room = min(room, _clear(frontends, self.most))
            self._left = max(room, self._step)


def _clear(frontends: list[ClearablePaths], limit: int) -> int:
    """Clear the largest dirty sets until all together are within `limit`; return how many paths are left up to it."""
    total = sum(map(len, frontends))
    if total > limit:
        for paths in sorted(frontends, key=lambda one: (one.is_connected, -len(one))):
            total -= len(paths)
            paths.clear("all frontends together")
            if total <= limit:
                break
    return limit - total
