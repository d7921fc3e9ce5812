"""A fair queue of due paths: a small change does not wait behind a large one.

Half of each slice is first in, first out, so that no path starves. The other half comes from the directories with the fewest due
paths, the newest path first, and paths with new content before attribute changes and deletions. An upload is therefore checked
in the next slice, even during `chmod -R` or the extraction of an archive.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict

from replicator.model import parent

_Group = tuple[bool, bytes]  # whether its paths have a low priority, and their directory


class Backlog:
    """The queue. Every operation costs O(log n) or less per path.

    Args:
        last: initial value of the attribute.

    Attributes:
        last: number of the path with new content that was added last; see `has_content_of`.
    """

    def __init__(self, last: int = 0) -> None:
        self._order: OrderedDict[bytes, _Group] = OrderedDict()
        self._contents: OrderedDict[bytes, int] = OrderedDict()
        self._groups: dict[_Group, dict[bytes, None]] = {}
        self._smallest: list[tuple[bool, int, int, bytes]] = []
        self._count = 0
        self.last = last

    def __len__(self) -> int:
        return len(self._order)

    def add(self, path: bytes, *, low_priority: bool) -> None:
        """Add a path. A path that is queued with a low priority moves to the group with new content if `low_priority` is False."""
        group = self._order.get(path)
        if group is not None:
            if low_priority or not group[0]:
                return
            self.remove(path)
        group = self._order[path] = low_priority, parent(path)
        if not low_priority:
            self.last += 1
            self._contents[path] = self.last
        paths = self._groups.setdefault(group, {})
        paths[path] = None
        if len(paths) == 1:  # when a group grows, its heap entry is corrected when it is popped
            self._enter(group, 1)

    def remove(self, path: bytes) -> None:
        """Remove a path, if it is queued."""
        if path in self._order:
            self._enter_rest(self._pop(path))

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
        touched: set[_Group] = set()
        group: _Group | None = None
        for number in range(limit):
            if number % 2:
                path = next(iter(self._order))
            else:
                if (
                    group is None or group not in self._groups
                ):  # it stays the smallest until it is empty
                    group = self._pop_smallest()
                path = next(reversed(self._groups[group]))
            touched.add(self._pop(path))
            taken.append(path)
        for one in touched:
            self._enter_rest(one)
        return taken

    def has_content_of(self, number: int) -> bool:
        """Return True if a path with new content is queued that was added when `last` was `number` or less."""
        return bool(self._contents) and next(iter(self._contents.values())) <= number

    def _pop(self, path: bytes) -> _Group:
        """Remove a path; return its group, whose heap entries may be too large then."""
        group = self._order.pop(path)
        if not group[0]:
            del self._contents[path]
        paths = self._groups[group]
        del paths[path]
        if not paths:
            del self._groups[group]
        return group

    def _pop_smallest(self) -> _Group:
        """Remove the heap entry of the smallest group; return the group."""
        while True:
            low_priority, size, count, directory = heapq.heappop(self._smallest)
            group = low_priority, directory
            paths = self._groups.get(group)
            if paths is not None and len(paths) == size:
                return group
            if paths is not None:
                heapq.heappush(self._smallest, (low_priority, len(paths), count, directory))

    def _enter_rest(self, group: _Group) -> None:
        """Add a heap entry for what is left of a group."""
        if group in self._groups:
            self._enter(group, len(self._groups[group]))

    def _enter(self, group: _Group, size: int) -> None:
        low_priority, directory = group
        self._count += 1
        heapq.heappush(self._smallest, (low_priority, size, -self._count, directory))
        if len(self._smallest) > 4 * (len(self._order) + 256):
            self._smallest = [
                (one[0], len(paths), 0, one[1]) for one, paths in self._groups.items()
            ]
            heapq.heapify(self._smallest)
