"""A fair queue of due paths: a small change does not wait behind a large one.

Half of each slice is first in, first out, so that no path starves. The other half comes from the directories with the fewest due
paths, the newest path first, and paths with new content before attribute changes and deletions. An upload is therefore checked
in the next slice, even during `chmod -R` or the extraction of an archive.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from typing import NamedTuple

from replicator.model import parent


class _Group(NamedTuple):
    minor: bool
    directory: bytes


class Backlog:
    """The queue. Every operation costs O(log n) or less per path.

    Attributes:
        last: number of the path with new content that was added last; see `has_content_of`.
    """

    def __init__(self) -> None:
        self._order: OrderedDict[bytes, _Group] = OrderedDict()
        self._contents: OrderedDict[bytes, int] = OrderedDict()
        self._groups: dict[_Group, dict[bytes, None]] = {}
        self._smallest: list[tuple[bool, int, int, bytes]] = []
        self._count = 0
        self.last = 0

    def __len__(self) -> int:
        return len(self._order)

    def add(self, path: bytes, *, minor: bool) -> None:
        """Add a path. A path that is queued as minor moves to the group with new content if `minor` is False."""
        group = self._order.get(path)
        if group is not None:
            if minor or not group.minor:
                return
            self.remove(path)
        group = self._order[path] = _Group(minor, parent(path))
        if not minor:
            self.last += 1
            self._contents[path] = self.last
        paths = self._groups.setdefault(group, {})
        paths[path] = None
        if len(paths) == 1:  # when a group grows, its heap entry is corrected when it is popped
            self._enter(group, 1)

    def remove(self, path: bytes) -> None:
        """Remove a path, if it is queued."""
        group = self._order.pop(path, None)
        self._contents.pop(path, None)
        if group is not None:
            paths = self._groups[group]
            del paths[path]
            if paths:
                self._enter(group, len(paths))
            else:
                del self._groups[group]

    def take(self, limit: int | None) -> list[bytes]:
        """Remove and return at most `limit` paths; None: all."""
        if limit is None or len(self._order) <= limit:
            taken = list(self._order)
            self._order.clear()
            self._contents.clear()
            self._groups.clear()
            self._smallest.clear()
            return taken
        taken = []
        for number in range(limit):
            path = self._next_of_smallest() if number % 2 == 0 else next(iter(self._order))
            self.remove(path)
            taken.append(path)
        return taken

    def has_content_of(self, number: int) -> bool:
        """Return True if a path with new content is queued that was added when `last` was `number` or less."""
        return bool(self._contents) and next(iter(self._contents.values())) <= number

    def _next_of_smallest(self) -> bytes:
        while True:
            minor, size, count, directory = heapq.heappop(self._smallest)
            paths = self._groups.get(_Group(minor, directory))
            if paths is None or len(paths) < size:  # empty, or a newer entry holds its size
                continue
            if len(paths) == size:
                return next(reversed(paths))
            heapq.heappush(self._smallest, (minor, len(paths), count, directory))

    def _enter(self, group: _Group, size: int) -> None:
        self._count += 1
        heapq.heappush(self._smallest, (group.minor, size, -self._count, group.directory))
        if len(self._smallest) > 4 * (len(self._order) + 256):
            self._smallest = [
                (one.minor, len(paths), 0, one.directory) for one, paths in self._groups.items()
            ]
            heapq.heapify(self._smallest)
