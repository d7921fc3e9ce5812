"""Limit for the removal of surplus paths: those that exist on a frontend and not on the source.

A comparison counts the surplus before it removes any of it. Removals within the last hour count as well, because each connection,
each resync of a directory and each `verify --repair` compares, and all of them together may remove no more than one may.

Above the limit, the operator is asked. The limit is then fixed until the surplus is gone or the operator has answered: new paths in
the source do not raise it. Surplus paths that are restored in the source do lower the surplus.
"""

from __future__ import annotations

from typing import NamedTuple

from replicator.core.guard import FREE, STEADY

WINDOW = 3600.0
"""Seconds for which a removal counts against the limit."""

COARSE = 60.0
"""Seconds within which removals are recorded as one, to bound memory."""

LONGEST = 3600.0
"""Maximum seconds between two comparisons while the surplus does not change; the first follows after STEADY seconds, then the pause
doubles."""

RATE = 20
"""Minimum pause before the next comparison, as a multiple of the duration of the last."""


class Asked(NamedTuple):
    """A surplus above the limit, as of the last comparison, while the operator's answer is outstanding.

    Attributes:
        found: surplus paths.
        since: time of the first comparison that found this number.
        share: the fixed limit, in paths.
        left: paths in the source.
        enough: number of paths by which the source must grow before it is compared again early.
        soonest: earliest time of the next comparison.
        latest: time of the next comparison if the source does not grow: paths may have been removed on the frontend.
        pause: seconds from the last comparison to the next if the source does not grow.
    """

    found: int
    since: float
    share: int
    left: int
    enough: int
    soonest: float
    latest: float
    pause: float


class Surplus:
    """Limits the removal of one tree's surplus on one frontend, across reconnects. Times are seconds of a monotonic clock.

    Args:
        share: fraction of the tree, below 1, above which the operator is asked.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._removed: list[tuple[float, int]] = []
        self._asked: Asked | None = None

    @property
    def asks(self) -> bool:
        """True while the last comparison of the whole tree has kept surplus paths on the frontend."""
        return self._asked is not None

    def judge(self, found: int, left: int, now: float, *, complete: bool) -> str:
        """Return why surplus paths are kept; if empty, they may be removed, and their removal is recorded.

        Args:
            found: number of surplus paths.
            left: paths in the source.
            now: the current time.
            complete: `found` covers the whole tree.
        """
        removed = self._removed_since(now - WINDOW)
        text = f"{found} of {left + found} paths there are not on the backend"
        free = FREE if left else 0  # an empty source may be a volume that is not mounted
        if found + removed > max(free, self._share_of(found, left, removed)):
            too_many = f"after {removed} within an hour" if removed else "in one go"
            return (
                f"{text}, too many to be removed {too_many}. If they shall be: `replicator resume`."
            )
        if self._asked and not (complete and self._is_steady(found, left, now)):
            return (
                f"{text}, and too many were found before. They are removed when comparisons find as many for"
                f" {STEADY:.0f} s. If they shall be now: `replicator resume`."
            )
        self._record(found, now)
        return ""

    def kept(self, found: int, left: int, now: float, took: float) -> None:
        """Record that a comparison of the whole tree has kept surplus paths, and schedule the next one.

        Args:
            found: number of surplus paths.
            left: paths in the source.
            now: the current time.
            took: duration of the comparison in seconds.
        """
        asked = self._asked
        removed = self._removed_since(now - WINDOW)
        share = self._share_of(found, left, removed)
        missing = found + removed - max(FREE, share)
        enough = missing if 0 < missing < found else found
        pause, since = STEADY, now
        if asked and self._is_same(found, left):  # growth, if any, was by other paths
            since = asked.since
            enough, pause = min(found, max(enough, 2 * asked.enough)), min(2 * asked.pause, LONGEST)
        if not left:
            enough = 1
        soonest = now + RATE * took
        latest = max(now + pause, soonest)
        self._asked = Asked(found, since, share, left, enough, soonest, latest, pause)

    def over(self) -> None:
        """Record that a comparison of the whole tree has kept no surplus path."""
        self._asked = None

    def is_due(self, left: int, now: float) -> bool:
        """Return True if a tree with kept surplus paths should be compared again.

        Args:
            left: paths in the source.
            now: the current time.
        """
        asked = self._asked
        if asked is None:
            return False
        has_grown = left - asked.left >= asked.enough
        return now >= (asked.soonest if has_grown else asked.latest)

    def _share_of(self, found: int, left: int, removed: int) -> int:
        """Return the limit in paths; while the operator's answer is outstanding, the limit at the time of the question."""
        if self._asked:
            return self._asked.share
        return int(self._share * (left + found + removed))

    def _is_same(self, found: int, left: int) -> bool:
        """Return True if the last comparison found the same number, and the source was empty then if and only if it is now."""
        asked = self._asked
        return asked is not None and asked.found == found and bool(asked.left) == bool(left)

    def _is_steady(self, found: int, left: int, now: float) -> bool:
        """Return True if the surplus has not changed for STEADY seconds, so that the paths are not being restored."""
        asked = self._asked
        return asked is not None and self._is_same(found, left) and now - asked.since >= STEADY

    def _removed_since(self, time: float) -> int:
        self._removed = [one for one in self._removed if one[0] > time]
        return sum(count for _, count in self._removed)

    def _record(self, count: int, now: float) -> None:
        if self._removed and now - self._removed[-1][0] < COARSE:
            began, before = self._removed.pop()
            self._removed.append((began, before + count))
        else:
            self._removed.append((now, count))
