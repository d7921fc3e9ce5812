"""Histograms of durations, as Prometheus wants them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any


class Histogram:
    """Counts durations by bucket.

    Args:
        bounds: upper bounds of the buckets in seconds, ascending; a last bucket is above all of them.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._seconds = 0.0

    def add(self, seconds: float) -> None:
        """Count a duration."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._seconds += seconds

    def describe(self) -> dict[str, Any]:
        """Return the cumulative `buckets` as pairs of bound and count, the `count` of all, and their `seconds` together."""
        total, buckets = 0, []
        for bound, count in zip(self._bounds, self._counts, strict=False):
            total += count
            buckets.append([bound, total])
        return {
            "buckets": buckets,
            "count": total + self._counts[-1],
            "seconds": round(self._seconds, 6),
        }
