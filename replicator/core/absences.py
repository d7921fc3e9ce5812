"""Names that are missing on the source, and since when.

A name may be missing for a moment: editors rename a file away and write it anew, and deploys swap directories. So a path is believed
gone only after it has been missing for a grace period without an event about it. Until then the frontends keep what they have.

Times are seconds of a monotonic clock, given by the caller.
"""

from __future__ import annotations

GRACE = 0.5
"""Seconds for which a name must be missing: `rm` and a rewrite by hand or by a script follow each other faster."""

MOST = 64
"""Paths that are looked at in one go, as many as share one transaction of the catalog: after `rm -r` of a large directory, uploads are
looked at in between."""


class Absences:
    """Remembers which paths are missing, until they are believed gone or an event says that something happened to them."""

    def __init__(self, grace: float = GRACE) -> None:
        self._grace = grace
        self._since: dict[bytes, float] = {}  # in the order of their times
        self._ripe: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._since) + len(self._ripe)

    def note(self, path: bytes, now: float) -> bool:
        """A look found nothing at a path; return True if it has been missing for the grace period."""
        if path in self._ripe:
            return True
        self._since.setdefault(path, now)
        return False

    def heard(self, path: bytes) -> None:
        """An event was about a path: its grace period begins anew if it is missing again."""
        self._since.pop(path, None)
        self._ripe.discard(path)

    def take(self, now: float, most: int = MOST) -> list[bytes]:
        """Return at most `most` paths whose grace period is over, to be looked at once more; call `settled` after that look."""
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
        """What was taken has been looked at: it is gone, there again, or was noted anew."""
        self._ripe.clear()

    def next_due(self) -> float | None:
        """Return when `take` has something to return; None if nothing is missing."""
        since = next(iter(self._since.values()), None)
        return None if since is None else since + self._grace

    def clear(self) -> None:
        """Forget everything: all of the tree will be looked at."""
        self._since.clear()
        self._ripe.clear()
