"""The catalogs of all trees in one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from replicator.catalog import schema
from replicator.catalog.database import Database
from replicator.catalog.sqlite import SqliteCatalog

NOTES = ("paused", "mounts", "filesystem")
"""Names of the notes of a tree in the table `meta`."""

SLICE = 1000
"""Rows deleted in one transaction, during which other writes wait."""

SAMPLE = 100
"""Entries that are kept of an abandoned tree."""


class CatalogStore(Database):
    """The catalogs of all trees, in one file; see `Database.open`."""

    def __init__(self, path: Path, rebuilt: str) -> None:
        super().__init__(path, rebuilt)
        self._trees: dict[int, SqliteCatalog] = {}

    def tree(self, source: bytes) -> SqliteCatalog:
        """Return the catalog of the tree whose root is `source`; create it if there is none."""
        with self.writing() as db:
            db.execute("INSERT OR IGNORE INTO trees (source) VALUES (?)", (source,))
            number = db.execute("SELECT id FROM trees WHERE source = ?", (source,)).fetchone()[0]
        # One object per tree, because it holds the cache of recently read records.
        return self._trees.setdefault(number, SqliteCatalog(self, number))

    def abandon(self, source: bytes) -> None:
        """Drop the records of the tree whose root is `source`, without delay; `clean` deletes the rows later.

        The tree gets a new number, so that `clean` deletes nothing that is recorded afterwards. The data that protects its frontends is
        kept: the root's identity, its mounts, a pause of deletions, and SAMPLE entries, which suffice to halt the tree if it is
        configured again with an empty or wrong source.
        """
        with self.writing() as db:
            row = db.execute("SELECT id FROM trees WHERE source = ?", (source,)).fetchone()
            if row is None:
                return
            (number,) = db.execute(schema.NEW_NUMBER).fetchone()
            db.execute(schema.RENUMBER, (number, row[0]))
            db.execute(schema.KEEP_SOME, {"new": number, "tree": row[0], "limit": SAMPLE})
            for name in NOTES:
                db.execute(schema.RENAME_NOTE, (f"{name} {number}", f"{name} {row[0]}"))
        self._trees.pop(row[0], None)

    def recorded(self) -> set[bytes]:
        """Return the roots of the trees with more entries than `abandon` keeps."""
        with self.reading() as db:
            trees = db.execute(schema.SOURCES).fetchall()
            beyond = {n: db.execute(schema.BEYOND, (n, SAMPLE)).fetchone() for _, n in trees}
            return {source for source, number in trees if beyond[number]}

    def clean(self) -> bool:
        """Delete up to SLICE rows of abandoned trees; return True if there may be more. Blocks for about 10 ms."""
        with self.writing() as db:
            known = {number for _, number in db.execute(schema.SOURCES)}
            for table, drop in schema.DROP_SOME.items():
                for number in _trees_in(db, table):
                    if number not in known:
                        db.execute(drop, {"tree": number, "limit": SLICE})
                        return True
        return False


def _trees_in(db: sqlite3.Connection, table: str) -> Iterator[int]:
    """Yield the numbers of the trees that have rows in a table."""
    number = -1
    while (number := db.execute(schema.NEXT_TREE[table], (number,)).fetchone()[0]) is not None:
        yield number
