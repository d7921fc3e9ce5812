"""The catalogs of all trees in one SQLite file."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from replicator.catalog import history, schema, withheld
from replicator.catalog.database import Database
from replicator.catalog.recent import Recent
from replicator.model import FILE, key
from replicator.ports import Identity, Record

NOTES = ("paused", "mounts", "filesystem")
"""What is noted of a tree."""

SLICE = 1000
"""Rows that are deleted in one transaction: the daemon's other writes wait that long."""

SAMPLE = 100
"""Entries that stay of an abandoned tree."""


class CatalogStore(Database):
    """One file with the catalogs of all trees."""

    def __init__(self, path: Path, rebuilt: str) -> None:
        super().__init__(path, rebuilt)
        self._trees: dict[int, SqliteCatalog] = {}

    def tree(self, source: bytes) -> SqliteCatalog:
        """Return the catalog of the tree whose root is `source`."""
        with self.writing() as db:
            db.execute("INSERT OR IGNORE INTO trees (source) VALUES (?)", (source,))
            number = db.execute("SELECT id FROM trees WHERE source = ?", (source,)).fetchone()[0]
        # One object for each tree, however often it is asked for: it knows what was read last.
        return self._trees.setdefault(number, SqliteCatalog(self, number))

    def abandon(self, source: bytes) -> None:
        """Forget what is recorded of the tree whose root is `source`, in a moment; `clean` deletes the rows.

        The tree gets a new number, so that nothing is deleted of what is recorded afterwards. What protects its frontends stays:
        which directory its root was, what was mounted there, whether deletions wait for a person, and enough entries to halt
        the tree if it comes back with an empty or a wrong source.
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
        """Return the roots of the trees of which more is recorded than `abandon` keeps."""
        with self.reading() as db:
            trees = db.execute(schema.SOURCES).fetchall()
            beyond = {n: db.execute(schema.BEYOND, (n, SAMPLE)).fetchone() for _, n in trees}
            return {source for source, number in trees if beyond[number]}

    def clean(self) -> bool:
        """Delete some rows of abandoned trees; return True if there may be more. Blocks for some 10 ms."""
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


class SqliteCatalog:
    """One tree's catalog; see `ports.Catalog`. Every call may raise SourceError when the file fails.

    Args:
        database: the file.
        number: the tree's row.
    """

    def __init__(self, database: Database, number: int) -> None:
        self.renaming = threading.Lock()
        self._database = database
        self._tree = number
        self._recent = Recent()
        self._counted: tuple[int, tuple[int, int]] = -1, (0, 0)

    def get(self, paths: Sequence[bytes]) -> dict[bytes, Record]:
        """Return the records of those of `paths` that exist."""
        found, writes = self._recent.find(paths)
        missing = [path for path in paths if path not in found]
        if missing:
            with self._database.reading() as db:
                rows = [db.execute(schema.GET, (self._tree, key(p))).fetchone() for p in missing]
                read = list(map(schema.record_of, filter(None, rows)))
            self._recent.keep(read, writes)
            found |= {record.path: record for record in read}
        return found

    def scan(self, after: bytes | None, until: bytes | None, limit: int) -> list[Record]:
        """Return at most `limit` records in key order, with `after` < path <= `until` (None: no bound)."""
        low = b"" if after is None else key(after) + b"\0"  # the very next key
        high = schema.PAST_ALL if until is None else key(until)
        _, writes = self._recent.find(())
        with self._database.reading() as db:
            rows = db.execute(schema.SCAN, (self._tree, low, high, limit)).fetchall()
            records = list(map(schema.record_of, rows))
        self._recent.keep(records, writes)
        return records

    def below(self, directory: bytes) -> list[bytes]:
        """Return the paths strictly below `directory`, in key order."""
        with self._database.reading() as db:
            rows = db.execute(
                schema.BELOW, (self._tree, key(directory), schema.end_of(key(directory)))
            )
            return [schema.path_of(row[0]) for row in rows]

    def sharing(self, inode: int) -> list[bytes]:
        """Return the recorded paths of an inode, in key order."""
        with self._database.reading() as db:
            rows = db.execute(schema.SHARING, (self._tree, schema.number_of(inode)))
            return [schema.path_of(row[0]) for row in rows]

    def sharing_below(self, directory: bytes) -> list[bytes]:
        """Return the recorded paths that are not below `directory` of inodes that are, in key order."""
        low, high = key(directory), schema.end_of(key(directory))
        values = {"tree": self._tree, "low": low, "high": high, "kind": FILE}
        with self._database.reading() as db:
            rows = db.execute(schema.SHARING_BELOW, values)
            return [schema.path_of(row[0]) for row in rows]

    def apply(
        self,
        records: Sequence[Record],
        gone: Sequence[bytes],
        signatures: Mapping[bytes, bytes | None],
    ) -> None:
        """Store records and forget paths, in one transaction; see `ports.Catalog`."""
        if not (records or gone or signatures):
            return
        lost = [(self._tree, key(path)) for path in gone]
        stale = [(self._tree, key(record.path)) for record in records if record.entry.kind != FILE]
        stale += ((self._tree, key(path)) for path, packed in signatures.items() if packed is None)
        kept = [(self._tree, key(path), packed) for path, packed in signatures.items() if packed]
        with self._database.writing() as db:
            history.note(db, self._tree, records, gone)
            db.executemany(schema.FORGET, lost)
            stored = history.marked(db, self._tree, records)
            db.executemany(schema.PUT, schema.rows_of(self._tree, stored))
            db.executemany(schema.FORGET_SIGNATURE, lost + stale)
            db.executemany(schema.PUT_SIGNATURE, kept)
        self._recent.written([*gone, *(record.path for record in records)])

    def move(self, source: bytes, target: bytes) -> None:
        """Relabel `source` and all below it as `target`; what was known at or below `target` is forgotten."""
        if source == target:
            return
        with self._database.writing() as db:
            low, high = key(target), schema.end_of(key(target))
            history.note_below(db, self._tree, key(source), schema.end_of(key(source)))
            self._relabel(db, key(source), schema.ASIDE)
            history.note_below(db, self._tree, low, high)
            for clear in schema.CLEAR:
                db.execute(clear, (self._tree, low, high))
            self._relabel(db, schema.ASIDE, key(target))
            history.mark_below(db, self._tree, low, high)
        self._recent.all_written()

    def signature(self, path: bytes) -> bytes | None:
        """Return the packed signature of the file's recorded version, if one is kept."""
        with self._database.reading() as db:
            row = db.execute(schema.SIGNATURE, (self._tree, key(path))).fetchone()
        return row[0] if row and isinstance(row[0], bytes) else None  # damage may make it a text

    def counts(self) -> tuple[int, int]:
        """Return how many records there are, and the bytes of all files."""
        _, writes = self._recent.find(())
        if (
            self._counted[0] != writes
        ):  # a million rows take a tenth of a second, and are asked for every second
            with self._database.reading() as db:
                entries, size = db.execute(schema.COUNTS, (self._tree,)).fetchone()
            self._counted = writes, (entries, int(size))
        return self._counted[1]

    def root_identity(self) -> Identity | None:
        """Return which source root this catalog describes; None when it is new."""
        with self._database.reading() as db:
            row = db.execute(
                "SELECT device, inode FROM trees WHERE id = ?", (self._tree,)
            ).fetchone()
        if row is None or row[0] is None:
            return None
        noted = self._note("filesystem")  # none: an earlier release wrote the catalog
        return Identity(int(row[0]), int(row[1]), int(noted) if noted.isdecimal() else 0)

    def set_root_identity(self, identity: Identity) -> None:
        """Remember which directory this catalog describes."""
        device, inode = map(schema.number_of, identity[:2])
        with self._database.writing() as db:
            db.execute(
                "UPDATE trees SET device = ?, inode = ? WHERE id = ?", (device, inode, self._tree)
            )
            note = f"filesystem {self._tree}", str(identity.filesystem)
            db.execute(schema.PUT_NOTE, note)

    def paused(self) -> str:
        """Return why deletions wait for a person; empty if they do not."""
        return self._note("paused")

    def pause(self, reason: str, before: int, paths: Iterable[bytes]) -> None:
        """Remember why deletions are paused; see `ports.Catalog`."""
        with self._database.writing() as db:
            withheld.pause(db, self._tree, reason, before, paths)

    def unpause(self) -> None:
        """Remember that deletions are not paused."""
        with self._database.writing() as db:
            withheld.unpause(db, self._tree)

    def withheld(self) -> tuple[int, int] | None:
        """Return how many paths that a pause withholds do not exist; see `ports.Catalog`."""
        with self._database.reading() as db:
            return withheld.missing(db, self._tree)

    def mounts(self) -> dict[bytes, str]:
        """Return which file systems were mounted below the root when it was last read: path to identity."""
        try:
            noted = json.loads(self._note("mounts") or "{}")
            return {os.fsencode(path): str(identity) for path, identity in noted.items()}
        except (ValueError, AttributeError):  # damage
            return {}

    def set_mounts(self, mounts: Mapping[bytes, str]) -> None:
        """Remember which file systems are mounted below the root."""
        noted = {os.fsdecode(path): identity for path, identity in mounts.items()}
        self._put_note("mounts", json.dumps(noted, sort_keys=True))

    def _note(self, name: str) -> str:
        with self._database.reading() as db:
            return withheld.noted(db, f"{name} {self._tree}")

    def _put_note(self, name: str, text: str) -> None:
        with self._database.writing() as db:
            db.execute(schema.PUT_NOTE, (f"{name} {self._tree}", text))

    def _relabel(self, db: sqlite3.Connection, source: bytes, target: bytes) -> None:
        for relabel in schema.RELABEL:
            db.execute(
                relabel, (target, len(source) + 1, self._tree, source, schema.end_of(source))
            )
