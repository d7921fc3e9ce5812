"""Queue of renames between the watcher and the worker.

A file rename is due at once. A directory rename waits for a grace period, because its old name may be used again immediately
(`mv live old; mv new live`); paths at and below its new name are not checked before it is processed. Consecutive renames in the queue
are composed: `a` to `b` and `b` to `c` become `a` to `c`. A rename that ends at its own source, or below it in a new directory of
that name, is dropped: the check of the new name finds the content.

Times are seconds of a monotonic clock, passed in by the caller.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from replicator.model import ancestors, is_below, is_within, overlap, rebase

GRACE = 0.05
"""Seconds for which a directory rename waits: two commands of a script follow each other within 1 to 5 ms."""


class _Rename(NamedTuple):
    source: bytes
    is_directory: bool
    due: float


class Renames:
    """Pending renames by new name, in the order in which they happened."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, _Rename] = {}
        self._left: dict[bytes, bytes] = {}  # the name that a directory has left: its new name

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, source: bytes, target: bytes, now: float, *, is_directory: bool) -> None:
        """Add a rename that happened after all earlier ones."""
        origin = self._origin(source)
        for path in (target, *ancestors(target)):
            self.returned(path, now)
        self._drop(source)
        self._drop(target)
        below = [p for p in self._waiting if is_below(p, source)] if is_directory else []
        for path in [p for p in self._waiting if is_below(p, target)] if is_directory else []:
            self._drop(path)  # replaced together with the directory that was at `target`
        due = now + GRACE if is_directory else now
        if not is_within(target, origin):
            self.returned(origin, now)  # an earlier directory had this name too, and was renamed
            self._waiting[target] = _Rename(origin, is_directory, due)
            if is_directory:
                self._left[origin] = target
        for path in below:
            moved = self._waiting.pop(path)
            renamed = rebase(path, source, target)
            if is_within(renamed, moved.source):
                if self._left.get(moved.source) == path:
                    del self._left[moved.source]
                continue
            self._waiting[renamed] = moved._replace(due=max(due, moved.due))
            if moved.is_directory:
                self._left[moved.source] = renamed

    def returned(self, path: bytes, now: float) -> None:
        """Record that a path exists again: the directory rename that left this name is due now."""
        target = self._left.pop(path, None)
        if target is not None and target in self._waiting:
            self._waiting[target] = self._waiting[target]._replace(due=now)

    def take(self, now: float) -> list[tuple[bytes, bytes]]:
        """Remove and return the due renames as (old path, new path), in their order."""
        due = [(one.source, target) for target, one in self._waiting.items() if one.due <= now]
        for _, target in due:
            self._drop(target)
        return due

    def next_due(self) -> float:
        """Return the time at which the next rename is due; infinite if none is pending."""
        return min((one.due for one in self._waiting.values()), default=math.inf)

    def not_before(self, path: bytes) -> float:
        """Return the time before which a path must not be checked, because a rename to it or to a parent is pending; else 0.0."""
        if not self._waiting:
            return 0.0
        above = (self._waiting.get(each) for each in (path, *ancestors(path)))
        return max((one.due for one in above if one is not None), default=0.0)

    def concern(self, path: bytes, until: float = math.inf) -> bool:
        """Return True if a rename that is pending since this time has its source or target at, above or below a path."""
        return any(
            overlap(path, end)
            for target, one in self._waiting.items()
            if one.due - GRACE <= until
            for end in (target, one.source)
        )

    def _origin(self, path: bytes) -> bytes:
        """Return the name that a path had before the pending renames."""
        for each in (path, *ancestors(path)):
            one = self._waiting.get(each)
            if one is not None and (each == path or one.is_directory):
                return rebase(path, each, one.source)
        return path

    def _drop(self, target: bytes) -> None:
        one = self._waiting.pop(target, None)
        if one is not None and self._left.get(one.source) == target:
            del self._left[one.source]
