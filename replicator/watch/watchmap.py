"""Map of watch descriptors to directories.

A directory keeps its watch descriptor through every rename. Each node therefore holds its name and the descriptor of its parent: a
path is computed by walking up, and renaming a directory with a million descendants changes one node.

A directory that has left its place, and whose new place is unknown, is **detached**: it has no path until it is placed again. A name
belongs to one directory: placing a directory detaches the one that had the name before.

Renames can move a directory deeper than MAX_DEPTH. Such a directory has no path either, nor has anything below it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from replicator.model import MAX_DEPTH, join, too_deep


class _Node:
    __slots__ = ("children", "name", "parent")

    def __init__(self) -> None:
        self.parent: int | None = None
        self.name = b""
        self.children: dict[bytes, int] = {}


class WatchMap:
    """The watched directories of one tree."""

    def __init__(self) -> None:
        self.root: int | None = None
        self.detached: set[int] = set()
        self._nodes: dict[int, _Node] = {}

    def __iter__(self) -> Iterator[int]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, wd: int) -> bool:
        return wd in self._nodes

    def place_root(self, wd: int) -> None:
        """Set the descriptor of the root."""
        self.root = wd
        self._nodes.setdefault(wd, _Node())
        self.detached.discard(wd)

    def place(self, wd: int, parent: int, name: bytes) -> None:
        """Record that the directory is now `name` in `parent`, wherever it was before."""
        node = self._nodes.setdefault(wd, _Node())
        if node.parent == parent and node.name == name:
            return
        if wd == self.root:  # a bind mount shows the root inside itself
            return
        if wd == parent:  # never true of a directory: later renames are unread
            self.detach(wd)
            return
        if wd in self._climb(parent):  # avoid a cycle: later renames have not been read yet
            self.detach(parent)
        occupant = self._nodes[parent].children.get(name)
        if occupant is not None:
            self.detach(occupant)
        self.detach(wd)
        self.detached.discard(wd)
        node.parent, node.name = parent, name
        self._nodes[parent].children[name] = wd

    def detach(self, wd: int) -> None:
        """Record that the directory has left its place; directories below it stay below it."""
        node = self._nodes[wd]
        if node.parent is not None:
            del self._nodes[node.parent].children[node.name]
            node.parent = None
        self.detached.add(wd)

    def remove(self, wd: int) -> list[int]:
        """Remove a directory and all below it; return their descriptors (none if it is unknown)."""
        if wd not in self._nodes:
            return []
        removed = self.below(wd)
        self.detach(wd)
        for each in removed:
            del self._nodes[each]
            self.detached.discard(each)
        if wd == self.root:
            self.root = None
        return removed

    def path_of(self, wd: int) -> bytes | None:
        """Return the path of a directory; None if it is unknown, too deep, detached, or below a detached one."""
        climbed = self._climb(wd, MAX_DEPTH + 1)
        if not climbed or climbed[-1] != self.root:
            return None
        return b"/".join(self._nodes[each].name for each in reversed(climbed[:-1]))

    def wd_of(self, path: bytes) -> int | None:
        """Return the descriptor of the directory at `path`; None if it is not watched."""
        wd = self.root
        for name in path.split(b"/") if path else ():
            if wd is None:
                return None
            wd = self._nodes[wd].children.get(name)
        return wd

    def locate(self, directory: int, name: bytes) -> bytes | None:
        """Return the path of `name` in a directory; None if the directory has no path, or is too deep to be entered."""
        path = self.path_of(directory)
        return None if path is None or too_deep(path) else join(path, name)

    def children(self, wd: int) -> dict[bytes, int]:
        """Return the watched directories in a directory, by name."""
        node = self._nodes.get(wd)
        return dict(node.children) if node is not None else {}

    def child(self, wd: int, name: bytes) -> int | None:
        """Return the descriptor of `name` in a directory; None if it is not watched."""
        node = self._nodes.get(wd)
        return node.children.get(name) if node is not None else None

    def below(self, wd: int) -> list[int]:
        """Return the descriptors at and below a directory, parents first."""
        found = [wd]
        for each in found:
            found.extend(self._nodes[each].children.values())
        return found

    def _climb(self, wd: int, limit: int = sys.maxsize) -> list[int]:
        """Return the descriptors from `wd` up to the root or to a detached directory, at most `limit`."""
        climbed: list[int] = []
        at: int | None = wd
        while at is not None and len(climbed) < limit:
            node = self._nodes.get(at)
            if node is None:
                return climbed
            climbed.append(at)
            at = node.parent
        return climbed
