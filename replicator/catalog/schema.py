"""Tables and statements of the catalog's file, and the conversion of records to rows.

An entry's key is its path in the form of `model.key`, so that the primary key has the order of a walk, and everything below a directory
is one range of it. SQLite detects a broken page, but not a changed value: each row has a CRC-32 of all columns but its key (after damage to
a key, the next scan finds no such path, and records the right path as new). In the column `firm`, bit 0 is `Record.stable`,
and bit 1 is `Record.ambiguous`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from replicator.model import Entry, Stamp, key
from replicator.ports import Child, Record

VERSION = "2"

CREATE = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE trees (id INTEGER PRIMARY KEY, source BLOB NOT NULL UNIQUE, device, inode);
CREATE TABLE entries (
  tree INTEGER NOT NULL, key BLOB NOT NULL,
  kind TEXT NOT NULL, mode INTEGER NOT NULL, size INTEGER NOT NULL, mtime, link BLOB NOT NULL, digest BLOB NOT NULL,
  stamp_size INTEGER NOT NULL, stamp_mtime, stamp_ctime, stamp_inode,
  firm INTEGER NOT NULL, problem TEXT NOT NULL, sum INTEGER NOT NULL,
  PRIMARY KEY (tree, key)
) WITHOUT ROWID;
CREATE INDEX entries_by_inode ON entries (tree, stamp_inode);
CREATE TABLE signatures (tree INTEGER NOT NULL, key BLOB NOT NULL, packed BLOB NOT NULL, PRIMARY KEY (tree, key));
"""
COLUMNS = (
    "key, kind, mode, size, mtime, link, digest,"
    " stamp_size, stamp_mtime, stamp_ctime, stamp_inode, firm, problem, sum"
)
# With one statement for many keys, a key takes 1 us instead of 10.
GET = f"SELECT {COLUMNS} FROM entries WHERE tree = ? AND key IN (%s)"
SCAN = (
    f"SELECT {COLUMNS} FROM entries WHERE tree = ? AND key >= ? AND key <= ? ORDER BY key LIMIT ?"
)
CHILDREN = (
    "SELECT key, kind, mode, size, mtime, link, firm FROM entries"
    " WHERE tree = ? AND key >= ? AND key < ? ORDER BY key"
)
BELOW = "SELECT key FROM entries WHERE tree = ? AND key > ? AND key < ? ORDER BY key"
PARENTS = (
    "WITH given (low, high) AS (VALUES %s)"
    " SELECT low FROM given WHERE EXISTS (SELECT 1 FROM entries WHERE tree = ? AND key > low AND key < high)"
)
SHARING = "SELECT key FROM entries WHERE tree = ? AND stamp_inode = ? ORDER BY key"
# A subquery of the inodes below, not a join: for a join, SQLite reads the whole tree once per inode (800 s for 100,000).
SHARING_BELOW = (
    "SELECT key FROM entries INDEXED BY entries_by_inode WHERE tree = :tree AND stamp_inode IN"
    " (SELECT stamp_inode FROM entries"
    " WHERE tree = :tree AND key > :low AND key < :high AND kind = :kind AND stamp_inode != -1)"
    " AND NOT (key > :low AND key < :high) ORDER BY key"
)
COUNTS = "SELECT count(*), total(size) FROM entries WHERE tree = ?"
NOTE = "SELECT value FROM meta WHERE name = ?"
PUT_NOTE = "INSERT OR REPLACE INTO meta VALUES (?, ?)"
SIGNATURE = "SELECT packed FROM signatures WHERE tree = ? AND key = ?"
PUT = "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
PUT_SIGNATURE = "INSERT OR REPLACE INTO signatures VALUES (?, ?, ?)"
FORGET = "DELETE FROM entries WHERE tree = ? AND key = ?"
FORGET_SIGNATURE = "DELETE FROM signatures WHERE tree = ? AND key = ?"
# No key sorts between a directory and the entries below it.
_AT_OR_BELOW = "tree = ? AND key >= ? AND key < ?"
CLEAR = [f"DELETE FROM {table} WHERE {_AT_OR_BELOW}" for table in ("entries", "signatures")]
SOURCES = "SELECT source, id FROM trees"
# Larger than the number in any row, so that no tree gets the number of another one whose rows are not all deleted yet.
NEW_NUMBER = (
    "SELECT 1 + max((SELECT ifnull(max(id), 0) FROM trees),"
    " (SELECT ifnull(max(tree), 0) FROM entries), (SELECT ifnull(max(tree), 0) FROM signatures),"
    " (SELECT ifnull(max(tree), 0) FROM withheld))"
)
RENUMBER = "UPDATE trees SET id = ? WHERE id = ?"
KEEP_SOME = (
    "UPDATE entries SET tree = :new WHERE tree = :tree AND key IN"
    " (SELECT key FROM entries WHERE tree = :tree ORDER BY key LIMIT :limit)"
)
BEYOND = "SELECT 1 FROM entries WHERE tree = ? LIMIT 1 OFFSET ?"
RENAME_NOTE = "UPDATE OR REPLACE meta SET name = ? WHERE name = ?"
# A step along the primary key from one tree to the next; `NOT IN` would read every row.
NEXT_TREE = {
    table: f"SELECT min(tree) FROM {table} WHERE tree > ?"
    for table in ("entries", "signatures", "withheld")
}
DROP_SOME = {
    table: f"DELETE FROM {table} WHERE tree = :tree AND key IN"
    f" (SELECT key FROM {table} WHERE tree = :tree ORDER BY key LIMIT :limit)"
    for table in ("entries", "signatures", "withheld")
}
RELABEL = [
    f"UPDATE {table} SET key = CAST(? || substr(key, ?) AS BLOB) WHERE {_AT_OR_BELOW}"
    for table in ("entries", "signatures")
]

GROUP = 64
"""Keys in one statement: the paths that a check reads at once."""

PAST_ALL = b"\xff" * 256
"""Sorts after every key, because a name has at most 255 bytes."""

ASIDE = b"\0"
"""A key that no path has. A subtree that is renamed to a parent of its own, or below itself, is stored under it meanwhile."""


def end_of(directory: bytes) -> bytes:
    """Return the upper bound (exclusive) of the keys at and below a directory."""
    return directory + b"\1" if directory else PAST_ALL


def groups(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Split keys into groups of 1, 2, 4 … GROUP for statements with as many parameters; the last key is repeated to fill a group.

    Few different statements are needed this way: sqlite3 keeps 128 compiled ones.
    """
    for start in range(0, len(keys), GROUP):
        group = keys[start : start + GROUP]
        size = 1 << (len(group) - 1).bit_length()
        yield [*group, *[group[-1]] * (size - len(group))]


def number_of(number: int) -> int | str:
    """Return an integer in a form that SQLite can store: text beyond signed 64 bits (mtimes after 2262, inodes with the top bit set)."""
    return number if -(1 << 63) <= number < 1 << 63 else str(number)


def path_of(stored: bytes) -> bytes:
    """Return the path of a key."""
    return stored.replace(b"\0", b"/")


class RowDamaged(Exception):
    """The checksum of a row is wrong."""


def record_of(row: tuple[Any, ...]) -> Record:
    """Return the record in a row of GET or SCAN.

    Raises:
        RowDamaged: if the row's checksum is wrong.
    """
    if _sum(row[1:-1]) != row[-1] or not isinstance(row[0], bytes):
        raise RowDamaged
    (
        stored,
        kind,
        mode,
        size,
        mtime,
        link,
        digest,
        length,
        changed,
        seen,
        inode,
        firm,
        problem,
        _,
    ) = row
    entry = Entry(kind, mode, size, int(mtime), link, digest)
    stamp = Stamp(length, int(changed), int(seen), int(inode))
    return Record(path_of(stored), entry, stamp, firm & 1 == 1, problem, firm & 2 == 2)


def child_of(name: bytes, row: tuple[Any, ...]) -> Child:
    """Return the entry in a row of CHILDREN.

    The checksum covers other columns too, and is not checked: a wrong value makes a digest differ, and the listing that follows reads
    the whole row.

    Raises:
        RowDamaged: if a value has another type.
    """
    _, kind, mode, size, mtime, link, firm = row
    try:
        return Child(name, kind, int(mode), int(size), int(mtime), bytes(link), int(firm) & 2 == 0)
    except (TypeError, ValueError):
        raise RowDamaged from None


def rows_of(tree: int, records: Iterable[Record]) -> Iterator[tuple[object, ...]]:
    """Yield the rows of records, as parameters of PUT."""
    for path, entry, stamp, stable, problem, ambiguous in records:
        kind, mode, size, mtime, link, digest = entry
        values = (
            *(kind, mode, size, number_of(mtime), link, digest),
            *(stamp.size, number_of(stamp.mtime_ns), number_of(stamp.ctime_ns)),
            *(number_of(stamp.inode), stable | ambiguous << 1, problem),
        )
        yield (tree, key(path), *values, _sum(values))


def _sum(values: tuple[object, ...]) -> int:
    return zlib.crc32(repr(values).encode())
