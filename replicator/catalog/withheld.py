"""Paths whose deletions the frontends have not been sent, because too many were removed in one go.

They are recorded by name, so that a pause can end by itself when they exist again. New files under other names do not end it.
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
    "SELECT count(*) FROM withheld WHERE tree = ? AND NOT EXISTS"
    " (SELECT 1 FROM entries WHERE entries.tree = withheld.tree AND entries.key = withheld.key)"
)


def pause(
    db: sqlite3.Connection, tree: int, reason: str, before: int, paths: Iterable[bytes]
) -> None:
    """Note why deletions are paused, and add to the paths that are withheld."""
    if not noted(db, f"paused {tree}"):
        db.execute(_CLEAR, (tree,))  # an earlier release ended a pause, and left them
    db.executemany(_ADD, [(tree, key(path)) for path in paths])
    notes = (f"paused {tree}", reason), (f"before {tree}", str(before))
    db.executemany(schema.PUT_NOTE, notes)


def unpause(db: sqlite3.Connection, tree: int) -> None:
    """Note that deletions are not paused."""
    db.execute(_CLEAR, (tree,))
    db.executemany(schema.PUT_NOTE, [(f"paused {tree}", ""), (f"before {tree}", "")])


def missing(db: sqlite3.Connection, tree: int) -> tuple[int, int] | None:
    """Return how many of the withheld paths do not exist, and how many paths there were before.

    None: that is unknown, because an earlier release paused, or because the tree was not configured for a while.
    """
    before = noted(db, f"before {tree}")
    if not before.isdecimal():
        return None
    return db.execute(_MISSING, (tree,)).fetchone()[0], int(before)


def noted(db: sqlite3.Connection, name: str) -> str:
    """Return a note; empty if there is none."""
    row = db.execute(schema.NOTE, (name,)).fetchone()
    return str(row[0]) if row else ""
