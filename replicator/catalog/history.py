"""Earlier versions of paths: size, mtime and digest of what was removed, renamed or replaced.

A frontend that was disconnected may still have an earlier version. If that has the same size and mtime as the current one, a comparison
by size and mtime finds no difference. Such a record is marked `Record.ambiguous`, and its content is compared.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from replicator.catalog import schema
from replicator.model import FILE, key
from replicator.ports import Record

LIMIT = 100_000
"""Versions that are kept, of all trees together: about 15 MB. The oldest are removed first."""

CREATE = """
CREATE TABLE IF NOT EXISTS past (
  id INTEGER PRIMARY KEY AUTOINCREMENT, tree INTEGER NOT NULL, key BLOB NOT NULL, size INTEGER NOT NULL, mtime NOT NULL,
  digest BLOB NOT NULL, UNIQUE (tree, key, size, mtime))
"""
# An empty digest stands for several different ones.
_NOTE = (
    "INSERT INTO past (tree, key, size, mtime, digest)"
    f" SELECT tree, key, size, mtime, digest FROM entries WHERE kind = '{FILE}' AND digest != x'' AND "
)
_ONCE = " ON CONFLICT (tree, key, size, mtime) DO UPDATE SET digest = CASE digest WHEN excluded.digest THEN digest ELSE x'' END"
NOTE_GONE = f"{_NOTE} tree = ? AND key = ?{_ONCE}"
# Only versions whose mtime was set explicitly (ctime differs by more than 1 s). A file that is appended to, such as a log, would
# fill the table, and its mtimes do not recur.
NOTE_REPLACED = (
    f"{_NOTE} tree = ? AND key = ? AND (kind, size, mtime) != (?, ?, ?)"
    f" AND (stamp_ctime = -1 OR abs(stamp_ctime - mtime) > 1000000000){_ONCE}"
)
NOTE_BELOW = f"{_NOTE} tree = ? AND key >= ? AND key < ? LIMIT {LIMIT}{_ONCE}"
FIND = "SELECT digest FROM past WHERE tree = ? AND key = ? AND size = ? AND mtime = ?"
CLASHING = (
    f"SELECT {schema.COLUMNS} FROM entries JOIN (SELECT tree, key, size, mtime, digest AS was FROM past)"
    " USING (tree, key, size, mtime)"
    f" WHERE tree = ? AND key >= ? AND key < ? AND kind = '{FILE}' AND digest NOT IN (x'', was)"
)
TRIM = f"DELETE FROM past WHERE id <= (SELECT max(id) FROM past) - {LIMIT}"


def note(
    db: sqlite3.Connection, tree: int, records: Sequence[Record], gone: Sequence[bytes]
) -> None:
    """Save the versions that a transaction is about to replace (`records`) or remove (`gone`)."""
    db.executemany(NOTE_GONE, [(tree, key(path)) for path in gone])
    replaced = (
        (tree, key(path), entry.kind, entry.size, schema.number_of(entry.mtime_ns))
        for path, entry, *_ in records
    )
    db.executemany(NOTE_REPLACED, replaced)
    db.execute(TRIM)


def marked(db: sqlite3.Connection, tree: int, records: Sequence[Record]) -> Iterable[Record]:
    """Return the records, marked ambiguous where another content had the same size and mtime."""
    if db.execute("SELECT max(id) FROM past").fetchone()[0] is None:
        return records
    return [
        record._replace(ambiguous=True)
        if not record.ambiguous and _clashes(db, tree, record)
        else record
        for record in records
    ]


def note_below(db: sqlite3.Connection, tree: int, low: bytes, high: bytes) -> None:
    """Save the versions in a key range that is about to be removed or renamed."""
    db.execute(NOTE_BELOW, (tree, low, high))
    db.execute(TRIM)


def mark_below(db: sqlite3.Connection, tree: int, low: bytes, high: bytes) -> None:
    """Mark ambiguous records in a key range that entries were renamed to."""
    rows = db.execute(CLASHING, (tree, low, high)).fetchall()
    records = [schema.record_of(row)._replace(ambiguous=True) for row in rows]
    db.executemany(schema.PUT, schema.rows_of(tree, records))


def _clashes(db: sqlite3.Connection, tree: int, record: Record) -> bool:
    path, entry, *_ = record
    if entry.kind != FILE or not entry.digest:
        return False
    place = tree, key(path), entry.size, schema.number_of(entry.mtime_ns)
    row = db.execute(FIND, place).fetchone()
    return row is not None and bytes(row[0]) != entry.digest
