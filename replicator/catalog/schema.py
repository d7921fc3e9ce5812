"""What the catalog's file looks like: its tables, its statements, and a record as a row.

An entry's key is its path as `model.key` writes it, so the primary key's order is the order of a walk, and all below a
directory is one range of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from replicator.model import Entry, Stamp, key
from replicator.ports import Record

VERSION = "1"

CREATE = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE trees (id INTEGER PRIMARY KEY, source BLOB NOT NULL UNIQUE, device, inode);
CREATE TABLE entries (
  tree INTEGER NOT NULL, key BLOB NOT NULL,
  kind TEXT NOT NULL, mode INTEGER NOT NULL, size INTEGER NOT NULL, mtime, link BLOB NOT NULL, digest BLOB NOT NULL,
  stamp_size INTEGER NOT NULL, stamp_mtime, stamp_ctime, stamp_inode,
  firm INTEGER NOT NULL, problem TEXT NOT NULL,
  PRIMARY KEY (tree, key)
) WITHOUT ROWID;
CREATE INDEX entries_by_inode ON entries (tree, stamp_inode);
CREATE TABLE signatures (tree INTEGER NOT NULL, key BLOB NOT NULL, packed BLOB NOT NULL, PRIMARY KEY (tree, key));
"""
_COLUMNS = (
    "key, kind, mode, size, mtime, link, digest,"
    " stamp_size, stamp_mtime, stamp_ctime, stamp_inode, firm, problem"
)
GET = f"SELECT {_COLUMNS} FROM entries WHERE tree = ? AND key = ?"  # noqa: S608  # constants only
SCAN = (
    f"SELECT {_COLUMNS} FROM entries WHERE tree = ? AND key >= ? AND key <= ?"  # noqa: S608
    " ORDER BY key LIMIT ?"
)
BELOW = "SELECT key FROM entries WHERE tree = ? AND key > ? AND key < ? ORDER BY key"
SHARING = "SELECT key FROM entries WHERE tree = ? AND stamp_inode = ? ORDER BY key"
COUNTS = "SELECT count(*), total(size) FROM entries WHERE tree = ?"
NOTE = "SELECT value FROM meta WHERE name = ?"
PUT_NOTE = "INSERT OR REPLACE INTO meta VALUES (?, ?)"
SIGNATURE = "SELECT packed FROM signatures WHERE tree = ? AND key = ?"
PUT = "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
PUT_SIGNATURE = "INSERT OR REPLACE INTO signatures VALUES (?, ?, ?)"
FORGET = "DELETE FROM entries WHERE tree = ? AND key = ?"
FORGET_SIGNATURE = "DELETE FROM signatures WHERE tree = ? AND key = ?"
# Nothing sorts between a directory and what lies below it.
_AT_OR_BELOW = "tree = ? AND key >= ? AND key < ?"
CLEAR = [f"DELETE FROM {table} WHERE {_AT_OR_BELOW}" for table in ("entries", "signatures")]  # noqa: S608
RELABEL = [
    f"UPDATE {table} SET key = CAST(? || substr(key, ?) AS BLOB) WHERE {_AT_OR_BELOW}"  # noqa: S608
    for table in ("entries", "signatures")
]

PAST_ALL = b"\xff" * 256
"""Sorts after every key: a name has at most 255 bytes."""

ASIDE = b"\0"
"""A key that no path has: where a subtree waits while its new place is cleared."""


def end_of(directory: bytes) -> bytes:
    """Return the key before which everything below a directory lies."""
    return directory + b"\1" if directory else PAST_ALL


def number_of(number: int) -> int | str:
    """Write an integer as SQLite can keep it: as text beyond 64 bits (dates after 2262, inodes with the top bit set)."""
    return number if -(1 << 63) <= number < 1 << 63 else str(number)


def path_of(stored: bytes) -> bytes:
    """Return the path of a key."""
    return stored.replace(b"\0", b"/")


def record_of(row: tuple[Any, ...]) -> Record:
    """Return the record in a row of GET or SCAN."""
    stored, kind, mode, size, mtime, link, digest = row[:7]
    stamp = Stamp(row[7], int(row[8]), int(row[9]), int(row[10]))
    entry = Entry(kind, mode, size, int(mtime), link, digest)
    return Record(path_of(stored), entry, stamp, bool(row[11]), row[12])


def rows_of(tree: int, records: Iterable[Record]) -> Iterator[tuple[object, ...]]:
    """Yield what PUT stores of records."""
    for path, entry, stamp, firm, problem in records:
        kind, mode, size, mtime, link, digest = entry
        yield (
            *(tree, key(path), kind, mode, size, number_of(mtime), link, digest),
            *(stamp.size, number_of(stamp.mtime_ns), number_of(stamp.ctime_ns)),
            *(number_of(stamp.inode), firm, problem),
        )
