"""Decide the value `ok` of `status`: True if every frontend is known to be equal to the sources, and every source is known.

It is False while a path is refused, dirty, unreadable or held back; while a frontend is not connected, or has not confirmed the repair of
what its last verification found; while the answer of a provider is in doubt; and while any of this is unknown.
"""

from __future__ import annotations

from typing import Any, NamedTuple

SERVING = ("live", "degraded")
"""States of a frontend that may be ok; a degraded one only within the tolerance."""


class Tolerance(NamedTuple):
    """Limits up to which dirty paths are ok. If both are None, no path may be dirty.

    Attributes:
        max_lag: seconds for which a path may be dirty.
        max_dirty: paths that may be dirty for each frontend, or unread in each tree.
    """

    max_lag: float | None = None
    max_dirty: int | None = None

    def covers(self, count: int, lag: float | None) -> bool:
        """Return True if `count` dirty paths, of which the oldest has been dirty for `lag` seconds (None: unknown), are ok."""
        if self.max_lag is None and self.max_dirty is None:
            return not count
        slow = self.max_lag is not None and (lag is None or lag > self.max_lag)
        many = self.max_dirty is not None and count > self.max_dirty
        return not count or not (slow or many)


NOTHING = Tolerance()


def is_ok(status: dict[str, Any], tolerance: Tolerance) -> bool:
    """Return True if all rows of a status are ok."""
    return (
        all(_frontend_is_ok(row, tolerance) for row in status["frontends"])
        and all(_tree_is_ok(row, tolerance) for row in status["trees"])
        and not any(
            row["error"] or row["doubt"] or not row["answered"] for row in status["discovery"]
        )
        and not status.get("verify", {}).get("error")
    )


def _frontend_is_ok(row: dict[str, Any], tolerance: Tolerance) -> bool:
    if row["state"] not in SERVING or row["dirty"] is None:
        return False
    differs = row["verified"] and row["verified"]["differing"]
    return not (row["excess"] or row["unlisted"] or differs) and tolerance.covers(
        row["dirty"], row["lag_seconds"]
    )


def _tree_is_ok(row: dict[str, Any], tolerance: Tolerance) -> bool:
    if row["state"] != "watching" or row["problems"]:
        return False
    unreadable = len(row["unreadable"])
    return tolerance.covers(unreadable, None) and tolerance.covers(
        row["pending"], row["lag_seconds"]
    )
