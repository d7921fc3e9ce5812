"""When a tree is published next, and what is shown of its base."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Protocol

from replicator.base.last_error import LastError
from replicator.base.layout import digests_in, shown
from replicator.base.publication import PublishedTree, TreeBase

NEVER_DELETED = (
    "tree.delete is off, and a new frontend would keep what was deleted while it was restored"
)


class Tree(PublishedTree, Protocol):
    """What the publisher reads of a tree."""

    @property
    def comparable(self) -> bool:
        """True if its source was scanned, and is not in doubt."""

    @property
    def delete(self) -> bool:
        """True if paths that are missing in the source are ever removed from frontends."""

    @property
    def deletes(self) -> bool:
        """True if paths that are missing in the source are removed from frontends at present."""


@dataclass
class Schedule:
    """When a tree is published next, and what was published.

    Attributes:
        base: the tree's base.
        tree: the tree.
        error: why its publication has failed.
        due: when it is published next, by the loop's clock.
        version: version of the catalog that was published last.
        current_at: when the store was last known to hold the tree's state, in seconds since the epoch; None: never since the start.
    """

    base: TreeBase
    tree: Tree
    error: LastError
    due: float = 0.0
    version: int | None = None
    current_at: float | None = None

    @property
    def has_news(self) -> bool:
        """True if a publication may find something new."""
        unfinished = self.base.published is None or self.base.left_out or self.base.wants_rewrite
        return bool(unfinished) or self.version != self.tree.catalog.version()

    @property
    def why_skipped(self) -> str:
        """Why the tree has no base, as a clause; empty if it has one."""
        return "" if self.tree.delete else NEVER_DELETED

    def figures(self) -> dict[str, Any]:
        """Return what is published, as JSON values."""
        published = self.base.published
        if published is None:
            return {"manifest": None}
        dead = published.dead / published.stored if published.stored else 0.0
        return {
            "manifest": published.manifest.hex(),
            "published_at": round(published.when, 3),
            "entries": published.rows,
            "bytes": published.content,
            "packs": len(digests_in(published.packs)),
            "stored": published.stored,
            "dead_share": round(dead, 4),
            "left_out": self.base.left_out,
        }

    def row(self) -> dict[str, Any]:
        """Return the tree's row of `replicator base status`."""
        row = {
            "source": shown(self.tree.root),
            "error": self.error.reason,
            "skipped": self.why_skipped,
            "current_at": None if self.current_at is None else round(self.current_at, 3),
            **self.figures(),
        }
        if self.base.published is not None:
            row["age_seconds"] = round(time.time() - self.base.published.when, 3)
        return row
