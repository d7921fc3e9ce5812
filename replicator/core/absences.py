"""Grace period for paths that are missing on the source.

A path may be missing for a moment: editors rename a file and write a new one, and deployments swap directories. A path counts as
deleted only after it has been missing for a grace period without an event about it. Until then the frontends keep their copies.

Times are seconds of a monotonic clock, given by the caller.
"""

from __future__ import annotations

GRACE = 0.5
"""Seconds for which a path must be missing. Scripts that remove and rewrite a file take less."""

MOST = 64
"""Paths checked at once, equal to the catalog's transaction size. After `rm -r` of a large directory, uploads are checked in between."""


class Absences:
    """Missing paths, each with the time since when, until their grace period ends or an event arrives about them."""

    def __init__(self, grace: float = GRACE) -> None:
        self._grace = grace
        self._since: dict[bytes, float] = {}  # in the order of their times
        self._ripe: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._since) + len(self._ripe)

    def note(self, path: bytes, now: float) -> bool:
        """Record that a check found nothing at a path; return True if its grace period is over."""
        if path in self._ripe:
            return True
        self._since.setdefault(path, now)
        return False

    def heard(self, path: bytes) -> None:
        """Record an event about a path: if the path is still missing, its grace period starts again."""
        self._since.pop(path, None)
        self._ripe.discard(path)

    def take(self, now: float, most: int = MOST) -> list[bytes]:
        """Return at most `most` paths whose grace period is over. The caller checks them once more, then calls `settled`."""
        ripe: list[bytes] = []
        for path, since in self._since.items():
            if since + self._grace > now or len(ripe) == most:
                break
            ripe.append(path)
        for path in ripe:
            del self._since[path]
        self._ripe.update(ripe)
        return ripe

    def settled(self) -> None:
        """Forget the paths that `take` has returned: the caller has checked them."""
        self._ripe.clear()

    def next_due(self) -> float | None:
        """Return the time at which the next grace period ends; None if no path is missing."""
        since = next(iter(self._since.values()), None)
        return None if since is None else since + self._grace

    def clear(self) -> None:
        """Forget all paths; the caller scans the whole tree."""
        self._since.clear()
        self._ripe.clear()
