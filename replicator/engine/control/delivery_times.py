"""How long deliveries take: a histogram for each tree since the start, and percentiles of the last ten minutes, for `status`."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from replicator.engine.events import DELIVERED, Event
from replicator.engine.histogram import Histogram
from replicator.model import printable

BOUNDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
"""Upper bounds in seconds of the histogram's buckets."""

SLOT = 10.0
"""Seconds of one value of the recent past."""

SLOTS = 60
"""Values of the recent past that are kept."""

FINEST, STEP = 0.0005, 1.1
"""Upper bound in seconds of the lowest step of a percentile, and the factor from each step to the next: at most 10 % too high."""


@dataclass
class _Slot:
    """Deliveries of SLOT seconds, counted by step."""

    at: float
    counts: dict[int, int] = field(default_factory=dict)


class DeliveryTimes:
    """Records the duration of each delivery; subscribes to `engine.events`.

    Args:
        roots: returns the source directories of the replicated trees. Each of them has a histogram from the start, because
            a rate needs the value before the first delivery; one that was removed has none.
    """

    def __init__(self, roots: Callable[[], Iterable[bytes]]) -> None:
        self._roots = roots
        self._trees: dict[bytes, Histogram] = {}
        self._slots: deque[_Slot] = deque(maxlen=SLOTS)

    def record(self, event: Event) -> None:
        """Record an event if it is a delivery."""
        if event.name != DELIVERED:
            return
        if event.tree not in self._trees:
            self._trees[event.tree] = Histogram(BOUNDS)
        self._trees[event.tree].add(event.seconds)
        begin = event.at - event.at % SLOT
        if not self._slots or self._slots[-1].at != begin:
            self._slots.append(_Slot(begin))
        counts = self._slots[-1].counts
        step = max(0, math.ceil(math.log(max(event.seconds, FINEST) / FINEST, STEP)))
        counts[step] = counts.get(step, 0) + 1

    def describe(self) -> dict[str, Any]:
        """Return what `status` shows; percentiles are seconds, None without a delivery."""
        self._trees = {root: self._trees.get(root) or Histogram(BOUNDS) for root in self._roots()}
        since = time.time() - SLOT * SLOTS
        slots = [slot for slot in self._slots if slot.at >= since - SLOT]
        together: dict[int, int] = {}
        for slot in slots:
            for step, count in slot.counts.items():
                together[step] = together.get(step, 0) + count
        return {
            "trees": [
                {"tree": printable(tree), **histogram.describe()}
                for tree, histogram in self._trees.items()
            ],
            "recent": [{"at": slot.at, **_percentiles(slot.counts)} for slot in slots],
            **_percentiles(together),
        }


def _percentiles(counts: dict[int, int]) -> dict[str, float | int | None]:
    total = sum(counts.values())
    return {
        "count": total,
        "p50": _percentile(counts, total, 0.5),
        "p99": _percentile(counts, total, 0.99),
    }


def _percentile(counts: dict[int, int], total: int, share: float) -> float | None:
    """Return the upper bound of the step below which `share` of all deliveries are."""
    seen = 0
    for step in sorted(counts):
        seen += counts[step]
        if seen >= share * total:
            return float(f"{FINEST * STEP**step:.3g}")
    return None
