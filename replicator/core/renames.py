"""Renames on their way from the watcher to the worker.

A rename of a file is handed out at once. A rename of a directory waits for a short grace period, because the name that it leaves
may be there again at once (`mv live old; mv new live`); what is at and below its new name is looked at after it. Renames of what
has not been handed out yet are joined: `a` to `b` and `b` to `c` is `a` to `c`. What ends where it began is no rename, and neither
is what ends below that, in a new directory of the old name: the look at its new name finds it.

Times are seconds of a monotonic clock, given by the caller.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from replicator.model import ancestors, is_below, rebase

GRACE = 0.1
"""Seconds that the rename of a directory waits: two commands of a script take a few milliseconds."""


class _Rename(NamedTuple):
    source: bytes
    is_directory: bool
    due: float


class Renames:
    """Renames that are not handed out yet, by their new names, in the order in which they happened."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, _Rename] = {}
        self._left: dict[bytes, bytes] = {}  # the name that a directory has left: its new name

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, source: bytes, target: bytes, now: float, *, is_directory: bool) -> None:
        """Take a rename, which happened after all that were taken before."""
        origin = self._origin(source)
        for path in (target, *ancestors(target)):
            self.returned(path, now)
        self._drop(source)
        self._drop(target)
        below = [p for p in self._waiting if is_below(p, source)] if is_directory else []
        for path in [p for p in self._waiting if is_below(p, target)] if is_directory else []:
            self._drop(path)  # what was there before went with the directory that has been replaced
        due = now + GRACE if is_directory else now
        if not _is_within(target, origin):
            self.returned(origin, now)  # another directory had this name, and left it before
            self._waiting[target] = _Rename(origin, is_directory, due)
            if is_directory:
                self._left[origin] = target
        for path in below:
            moved = self._waiting.pop(path)
            renamed = rebase(path, source, target)
            if _is_within(renamed, moved.source):
                if self._left.get(moved.source) == path:
                    del self._left[moved.source]
                continue
            self._waiting[renamed] = moved._replace(due=max(due, moved.due))
            if moved.is_directory:
                self._left[moved.source] = renamed

    def returned(self, path: bytes, now: float) -> None:
        """A name is there again: the rename that left it need not wait, because it is none."""
        target = self._left.pop(path, None)
        if target is not None and target in self._waiting:
            self._waiting[target] = self._waiting[target]._replace(due=now)

    def take(self, now: float) -> list[tuple[bytes, bytes]]:
        """Return the renames that are due, as (old name, new name), in their order."""
        due = [(one.source, target) for target, one in self._waiting.items() if one.due <= now]
        for _, target in due:
            self._drop(target)
        return due

    def next_due(self) -> float:
        """Return when a rename is due; infinite if none waits."""
        return min((one.due for one in self._waiting.values()), default=math.inf)

    def holds(self, path: bytes) -> float:
        """Return until when a path must not be looked at, because the rename that led to it, or above it, waits; 0.0 if it may be."""
        if not self._waiting:
            return 0.0
        above = (self._waiting.get(each) for each in (path, *ancestors(path)))
        return max((one.due for one in above if one is not None), default=0.0)

    def concern(self, path: bytes) -> bool:
        """Return True if a rename waits that begins or ends at, above or below a path."""
        return any(
            _related(path, end)
            for target, one in self._waiting.items()
            for end in (target, one.source)
        )

    def _origin(self, path: bytes) -> bytes:
        """Return what a path was called before the renames that wait."""
        for each in (path, *ancestors(path)):
            one = self._waiting.get(each)
            if one is not None and (each == path or one.is_directory):
                return rebase(path, each, one.source)
        return path

    def _drop(self, target: bytes) -> None:
        one = self._waiting.pop(target, None)
        if one is not None and self._left.get(one.source) == target:
            del self._left[one.source]


def _is_within(path: bytes, directory: bytes) -> bool:
    return path == directory or is_below(path, directory)


def _related(one: bytes, other: bytes) -> bool:
    return one == other or is_below(one, other) or is_below(other, one)
