"""Whether all is well: every serving frontend is known to hold what the source holds, and the source is known.

Whatever is refused, owed, unreadable, unknown, held back or not connected is not well.
"""

from __future__ import annotations

from typing import Any, NamedTuple

SERVING = ("live", "degraded")
"""States of a frontend that may be well; a degraded one only within what the caller tolerates."""


class Tolerance(NamedTuple):
    """What the caller of `status` accepts although it is owed; None: nothing.

    Attributes:
        max_lag: seconds for which a path may be owed.
        max_dirty: paths that may be owed to each frontend, or unread in each tree.
    """

    max_lag: float | None = None
    max_dirty: int | None = None

    def covers(self, count: int, lag: float | None) -> bool:
        """Return True if so many paths, the oldest owed for `lag` seconds (None: unknown), are acceptable."""
        if self.max_lag is None and self.max_dirty is None:
            return not count
        slow = self.max_lag is not None and (lag is None or lag > self.max_lag)
        many = self.max_dirty is not None and count > self.max_dirty
        return not count or not (slow or many)


NOTHING = Tolerance()


def is_well(status: dict[str, Any], tolerance: Tolerance) -> bool:
    """Return True if all rows of a status are well."""
    return (
        all(_frontend_is_well(row, tolerance) for row in status["frontends"])
        and all(_tree_is_well(row, tolerance) for row in status["trees"])
        and not any(row["error"] or not row["answered"] for row in status["discovery"])
    )


def _frontend_is_well(row: dict[str, Any], tolerance: Tolerance) -> bool:
    if row["state"] not in SERVING or row["dirty"] is None:
        return False
    return not (row["excess"] or row["unlisted"]) and tolerance.covers(
        row["dirty"], row["lag_seconds"]
    )


def _tree_is_well(row: dict[str, Any], tolerance: Tolerance) -> bool:
    if row["state"] != "watching" or row["problems"]:
        return False
    unreadable = len(row["unreadable"])
    return tolerance.covers(unreadable, None) and tolerance.covers(
        row["pending"], row["lag_seconds"]
    )
