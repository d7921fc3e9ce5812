"""How much of what one frontend has beyond the source may be removed from it without a question.

A comparison removes nothing of that before it knows how much there is. What comparisons have removed within an hour counts as well:
each new connection, each directory in doubt and each `verify --repair` is a comparison, and together they may remove no more than one.

Once a person is asked, the limit of that moment holds until nothing is left, or the person has answered: a tree that grows by other
paths makes nothing acceptable. What is put into the source again does.
"""

from __future__ import annotations

from typing import NamedTuple

from replicator.core.guard import FREE, STEADY

WINDOW = 3600.0
"""Seconds for which a removal counts."""

COARSE = 60.0
"""Seconds in which removals are counted as one, so that an hour of them takes little memory."""

LONGEST = 3600.0
"""Seconds between two comparisons at most while each finds as many; the first follows after STEADY."""

RATE = 20
"""Times longer than a comparison takes that the next one waits."""


class Asked(NamedTuple):
    """What a frontend keeps of a tree, by its last comparison, until a person answers.

    Attributes:
        found: so many paths are not in the source.
        since: when a comparison has found exactly so many for the first time.
        share: the share of the tree that may go, in paths.
        left: paths in the source.
        enough: paths by which the source must grow before another comparison is worth its cost.
        soonest: when that may be.
        latest: when it is due although the source has not grown: somebody may have removed paths on the frontend.
        pause: seconds until then.
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
    """Judges the surplus of one tree on one frontend, over all its connections.

    Args:
        share: of the tree; if more is surplus, a person is asked. Below 1.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._removed: list[tuple[float, int]] = []
        self._asked: Asked | None = None

    @property
    def asks(self) -> bool:
        """True from a comparison that has left surplus paths there until one that has not."""
        return self._asked is not None

    def judge(self, found: int, left: int, now: float, *, complete: bool) -> str:
        """Return why surplus paths stay; empty if they are removed, which is recorded.

        Args:
            found: how many.
            left: paths in the source.
            now: seconds.
            complete: these are all of the tree.
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
        """A comparison of the whole tree has left surplus paths there.

        Args:
            found: how many.
            left: paths in the source.
            now: seconds.
            took: seconds that the comparison has taken.
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
        """A comparison of the whole tree has left nothing there."""
        self._asked = None

    def is_due(self, left: int, now: float) -> bool:
        """Return True if the tree should be compared again, of which surplus paths are kept.

        Args:
            left: paths in the source.
            now: seconds.
        """
        asked = self._asked
        if asked is None:
            return False
        has_grown = left - asked.left >= asked.enough
        return now >= (asked.soonest if has_grown else asked.latest)

    def _share_of(self, found: int, left: int, removed: int) -> int:
        """Return the share of the tree in paths: of the tree as it was when a person was asked, while that lasts."""
        if self._asked:
            return self._asked.share
        return int(self._share * (left + found + removed))

    def _is_same(self, found: int, left: int) -> bool:
        """Return True if the last comparison found as much, in a source that was empty, or not, as it is now."""
        asked = self._asked
        return asked is not None and asked.found == found and bool(asked.left) == bool(left)

    def _is_steady(self, found: int, left: int, now: float) -> bool:
        """Return True if what is missing is not being put back: as many were found before, long enough ago."""
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
