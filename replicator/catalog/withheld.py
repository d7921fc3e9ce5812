"""Paths whose deletions are withheld from the frontends, because too many were deleted within a short time.

They are recorded by name: the pause ends by itself when the paths exist again, and not because of new files under other names.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from replicator.catalog import schema
from replicator.model import key

CREATE = """
CREATE TABLE IF NOT EXISTS withheld (tree INTEGER NOT NULL, key BLOB NOT NULL, PRIMARY KEY (tree, key)) WITHOUT ROWID
"""
_ADD = "INSERT OR IGNORE INTO withheld VALUES (?, ?)"
_CLEAR = "DELETE FROM withheld WHERE tree = ?"
_MISSING = (
    "FROM withheld WHERE tree = ? AND NOT EXISTS"
    " (SELECT 1 FROM entries WHERE entries.tree = withheld.tree AND entries.key = withheld.key)"
)


def pause(
    db: sqlite3.Connection, tree: int, reason: str, before: int, paths: Iterable[bytes]
) -> None:
    """Store why deletions are paused, and add `paths` to those that are withheld.

    Args:
        db: a connection in a write transaction.
        tree: the tree's number.
        reason: why; shown to the operator.
        before: number of paths in the tree before the deletions.
        paths: deleted paths.
    """
    if not noted(db, f"paused {tree}"):
        db.execute(_CLEAR, (tree,))  # left over from a pause that an earlier release ended
    db.executemany(_ADD, [(tree, key(path)) for path in paths])
    notes = (f"paused {tree}", reason), (f"before {tree}", str(before))
    db.executemany(schema.PUT_NOTE, notes)


def unpause(db: sqlite3.Connection, tree: int) -> None:
    """Store that deletions are not paused, and remove the withheld paths."""
    db.execute(_CLEAR, (tree,))
    db.executemany(schema.PUT_NOTE, [(f"paused {tree}", ""), (f"before {tree}", "")])


def missing(db: sqlite3.Connection, tree: int) -> tuple[int, int] | None:
    """Return the number of withheld paths that are still missing, and the number of paths before the deletions.

    None if that is unknown: an earlier release began the pause, or the tree was not configured for a while.
    """
    before = noted(db, f"before {tree}")
    if not before.isdecimal():
        return None
    (count,) = db.execute(f"SELECT count(*) {_MISSING}", (tree,)).fetchone()
    return count, int(before)


def samples(db: sqlite3.Connection, tree: int, most: int) -> list[bytes]:
    """Return some of the withheld paths that are still missing."""
    rows = db.execute(f"SELECT key {_MISSING} LIMIT ?", (tree, most))
    return [schema.path_of(stored) for (stored,) in rows]


def noted(db: sqlite3.Connection, name: str) -> str:
    """Return a value from the table `meta`; empty if there is none."""
    row = db.execute(schema.NOTE, (name,)).fetchone()
    return str(row[0]) if row else ""
