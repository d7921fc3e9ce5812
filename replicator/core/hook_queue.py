"""What waits for the next run of a hook. Later events about the same path or subject replace earlier ones, and the size is bounded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from replicator.model import ROOT, ancestors, parent

MOST_PATHS = 1000
"""Paths of a tree that a run gets one by one; beyond it, the directories that they are in."""

MOST_SUBJECTS = 1000
"""Frontends or trees that wait; beyond it the oldest is dropped."""


class HookQueue(Protocol):
    """What waits for one hook."""

    def __len__(self) -> int:
        """Return the number of things that wait."""

    @property
    def runs(self) -> int:
        """Number of calls of `take` after which nothing waits."""

    def take(self) -> dict[str, Any] | None:
        """Remove what the next run gets, and return it; None if nothing waits."""


@dataclass
class _Tree:
    """The delivered paths of one tree: True for those that were deleted, and the directories that stand for all below them."""

    since: float
    until: float
    paths: dict[bytes, bool] = field(default_factory=dict)
    renamed: dict[bytes, bytes] = field(default_factory=dict)
    below: set[bytes] = field(default_factory=set)

    def add(self, path: bytes, target: bytes, *, is_delete: bool) -> None:
        for one in filter(None, (path, target)) if path else (ROOT,):
            if one == ROOT or self.covers(one):
                self.below |= {ROOT} if one == ROOT else set()
                continue
            self.paths.pop(one, None)
            self.paths[one] = is_delete or bool(target and one == path)
        if target:
            self.renamed[path] = target
        self.shrink()

    def covers(self, path: bytes) -> bool:
        return any(above in self.below for above in (path, *ancestors(path), ROOT))

    def shrink(self) -> None:
        """If there are too many paths, let their directories stand for them; and so on, until there are few."""
        if ROOT in self.below:
            self._collapse({ROOT})
        if len(self.paths) + len(self.renamed) > MOST_PATHS:
            self._collapse(
                {parent(path) for path in (*self.paths, *self.renamed, *self.renamed.values())}
            )
        while len(self.below) > MOST_PATHS:
            self._collapse({parent(path) for path in self.below})

    def _collapse(self, directories: set[bytes]) -> None:
        self.below = self.below | directories
        self.below = {
            one
            for one in self.below
            if not any(above in self.below for above in ancestors(one))
            and (one == ROOT or ROOT not in self.below)
        }
        self.paths = {path: gone for path, gone in self.paths.items() if not self.covers(path)}
        self.renamed = {old: new for old, new in self.renamed.items() if not self.covers(new)}


class DeliveredPaths:
    """Queue of a hook for delivered paths; each run gets those of one tree.

    Args:
        event: name of the event.
    """

    def __init__(self, event: str) -> None:
        self._event = event
        self._trees: dict[bytes, _Tree] = {}

    def __len__(self) -> int:
        return sum(len(one.paths) + len(one.below) for one in self._trees.values())

    @property
    def runs(self) -> int:
        """See HookQueue."""
        return len(self._trees)

    def add(self, tree: bytes, path: bytes, target: bytes, at: float, *, is_delete: bool) -> None:
        """Add a path.

        Args:
            tree: source directory of the tree.
            path: relative to it; empty: everything.
            target: new path of a renamed directory; empty otherwise.
            at: when it was delivered, in seconds since the epoch.
            is_delete: True if it was deleted.
        """
        known = self._trees.setdefault(tree, _Tree(at, at))
        known.until = at
        known.add(path, target, is_delete=is_delete)

    def take(self) -> dict[str, Any] | None:
        """See HookQueue."""
        if not self._trees:
            return None
        root = next(iter(self._trees))
        tree = self._trees.pop(root)
        return {
            "event": self._event,
            "tree": _text(root),
            "changed": [_text(path) for path, gone in tree.paths.items() if not gone],
            "deleted": [_text(path) for path, gone in tree.paths.items() if gone],
            "renamed": [[_text(old), _text(new)] for old, new in tree.renamed.items()],
            "below": sorted(map(_text, tree.below)),
            "since": tree.since,
            "until": tree.until,
        }


class LatestStates:
    """Queue of a hook for transitions; each run gets the latest of one subject."""

    def __init__(self) -> None:
        self._waiting: dict[str, dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def runs(self) -> int:
        """See HookQueue."""
        return len(self)

    def add(self, subject: str, fields: dict[str, Any]) -> None:
        """Add an event of a frontend or a tree."""
        self._waiting.pop(subject, None)
        self._waiting[subject] = fields
        if len(self._waiting) > MOST_SUBJECTS:
            del self._waiting[next(iter(self._waiting))]

    def take(self) -> dict[str, Any] | None:
        """See HookQueue."""
        return self._waiting.pop(next(iter(self._waiting))) if self._waiting else None


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")
