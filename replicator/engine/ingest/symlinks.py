"""Changed symlinks that are checked after the new files to which they may lead."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

from replicator.core.debouncer import Debouncer
from replicator.engine.loop import loop_time
from replicator.model import Stamp

SCAN_WAIT = 10.0
"""Seconds for which a symlink waits for scans at most: a scan of a million files takes a minute."""


class _Waiting(NamedTuple):
    """One symlink.

    Attributes:
        stamp: its stamp.
        since: time at which it was seen.
        last: number of the last path with new content for which an event came until then; None: not all events have been taken in.
    """

    stamp: Stamp
    since: float
    last: int | None


class WaitingSymlinks(Collection[bytes]):
    """The symlinks of one tree that wait until the new content that was there when they were seen has been checked.

    A new version of a symlink often leads to files that were created just before (`current -> releases/7`), and the debouncer
    returns a single path before those of a full directory.

    Args:
        debouncer: knows which paths with new content are still to be checked.
        is_drained: returns True if all events before a time have been taken in as hints; see `ports.Watcher`.
    """

    def __init__(self, debouncer: Debouncer, is_drained: Callable[[float], bool]) -> None:
        self._debouncer = debouncer
        self._is_drained = is_drained
        self._waiting: dict[bytes, _Waiting] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._waiting)

    def __contains__(self, path: object) -> bool:
        return path in self._waiting

    def add(self, symlinks: Mapping[bytes, Stamp]) -> None:
        """Let symlinks wait that a check has put off; one that was switched again waits for more."""
        for path, stamp in symlinks.items():
            if path not in self._waiting or self._waiting[path].stamp != stamp:
                self._waiting[path] = _Waiting(stamp, loop_time(), None)

    def take(self) -> dict[bytes, Stamp]:
        """Remove and return the symlinks that need not wait any more."""
        due = {}
        for path, one in list(self._waiting.items()):
            last = one.last
            if last is None and self._is_drained(one.since):
                last = self._debouncer.last_content
                self._waiting[path] = one._replace(last=last)
            if last is not None and not self._has_content_of(one, last):
                due[path] = self._waiting.pop(path).stamp
        return due

    def _has_content_of(self, one: _Waiting, last: int) -> bool:
        """Return True if content that was there when a symlink was seen is still to be checked, or found by a scan."""
        if self._debouncer.has_content_of(last):
            return True
        recent = loop_time() - one.since < SCAN_WAIT
        return recent and self._debouncer.is_scan_awaited(one.since)
