"""The catalog of one tree in SQLite."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence

from replicator.catalog import history, schema, withheld
from replicator.catalog.database import Database
from replicator.catalog.digests import DirectoryDigests
from replicator.catalog.recent import Recent
from replicator.model import DIRECTORY, FILE, key, overlap
from replicator.ports import NOTHING, Child, Identity, Record


class SqliteCatalog:
    """One tree's catalog; see `ports.Catalog`. Every method raises SourceError if the file cannot be used.

    Args:
        database: the file.
        number: the tree's id in the table `trees`.
    """

    def __init__(self, database: Database, number: int) -> None:
        self.renaming = threading.Lock()
        self._database = database
        self._tree = number
        self._recent = Recent()
        self.digests = DirectoryDigests(self.children, self.get)
        self._counted: tuple[int, tuple[int, int]] = -1, (0, 0)

    def get(self, paths: Sequence[bytes]) -> dict[bytes, Record]:
        """Return the records of `paths`, without those that are not recorded."""
        found, writes = self._recent.find(paths)
        missing = [path for path in paths if path not in found]
        if missing:
            read: dict[bytes, Record] = {}
            with self._database.reading() as db:
                for keys in schema.groups([key(path) for path in missing]):
                    get = schema.GET % ",".join("?" * len(keys))
                    for row in db.execute(get, (self._tree, *keys)):
                        record = schema.record_of(row)
                        read[record.path] = record
            self._recent.keep(read.values(), writes)
            found |= {path: read[path] for path in missing if path in read}
        return found

    def scan(self, after: bytes | None, until: bytes | None, limit: int) -> list[Record]:
        """Return at most `limit` records in key order, with `after` < path <= `until` (None: no bound)."""
        low = b"" if after is None else key(after) + b"\0"  # the next possible key
        high = schema.PAST_ALL if until is None else key(until)
        _, writes = self._recent.find(())
        with self._database.reading() as db:
            rows = db.execute(schema.SCAN, (self._tree, low, high, limit)).fetchall()
            records = list(map(schema.record_of, rows))
        self._recent.keep(records, writes)
        return records

    def children(self, directory: bytes, after: Child | None, limit: int) -> list[Child]:
        """Return at most `limit` entries that a directory directly holds; see `ports.Catalog`."""
        start = key(directory) + b"\0" if directory else b""
        high = schema.end_of(key(directory))
        last, found = after, list[Child]()
        low: bytes | None = start + after.name + b"\0" if after else start
        with self._database.reading() as db:
            while low is not None and len(found) < limit:
                rows = db.execute(schema.CHILDREN, (self._tree, low, high))
                low = None
                for row in rows:
                    name, separator, _ = row[0][len(start) :].partition(b"\0")
                    if not separator:
                        last = schema.child_of(name, row)
                        found.append(last)
                        if len(found) == limit:
                            break
                        continue
                    # This row is below `name`, which is usually a directory and the row before: continue after the last row below it.
                    if last is None or last.name != name or last.kind not in (DIRECTORY, NOTHING):
                        last = Child(name, NOTHING, 0, 0, 0, b"", is_known=False)
                        found.append(last)
                    low = start + name + b"\1"
                    break
        return found

    def below(self, directory: bytes) -> list[bytes]:
        """Return the paths strictly below `directory`, in key order."""
        with self._database.reading() as db:
            rows = db.execute(
                schema.BELOW, (self._tree, key(directory), schema.end_of(key(directory)))
            )
            return [schema.path_of(row[0]) for row in rows]

    def parents_among(self, paths: Sequence[bytes]) -> set[bytes]:
        """Return those of `paths` that have entries below them."""
        found: set[bytes] = set()
        with self._database.reading() as db:
            for keys in schema.groups([key(path) for path in paths]):
                bounds = [bound for low in keys for bound in (low, schema.end_of(low))]
                statement = schema.PARENTS % ",".join(["(?, ?)"] * len(keys))
                rows = db.execute(statement, (*bounds, self._tree))
                found.update(schema.path_of(row[0]) for row in rows)
        return found

    def sharing(self, inode: int) -> list[bytes]:
        """Return the recorded paths with this inode number, in key order."""
        with self._database.reading() as db:
            rows = db.execute(schema.SHARING, (self._tree, schema.number_of(inode)))
            return [schema.path_of(row[0]) for row in rows]

    def sharing_below(self, directory: bytes) -> list[bytes]:
        """Return the paths outside `directory` that are hard links of files below it, in key order."""
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
        """Store records and remove paths, in one transaction; see `ports.Catalog`."""
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
        self.digests.changed.written(records, gone)

    def move(self, source: bytes, target: bytes) -> None:
        """Rename `source` and everything below it to `target`; records at or below `target` are removed first."""
        if source == target:
            return
        with self._database.writing() as db:
            start, low, high = key(source), key(target), schema.end_of(key(target))
            history.note_below(db, self._tree, start, schema.end_of(start))
            if overlap(source, target):
                self._relabel(db, start, schema.ASIDE)
                start = schema.ASIDE
            history.note_below(db, self._tree, low, high)
            for clear in schema.CLEAR:
                db.execute(clear, (self._tree, low, high))
            self._relabel(db, start, key(target))
            history.mark_below(db, self._tree, low, high)
        self._recent.all_written()
        self.digests.changed.moved(source, target)

    def signature(self, path: bytes) -> bytes | None:
        """Return the packed signature of the file's recorded version; None if none is stored."""
        with self._database.reading() as db:
            row = db.execute(schema.SIGNATURE, (self._tree, key(path))).fetchone()
        return row[0] if row and isinstance(row[0], bytes) else None  # damage may make it a text

    def counts(self) -> tuple[int, int]:
        """Return the number of records, and the total size of all files in bytes."""
        _, writes = self._recent.find(())
        if self._counted[0] != writes:  # called each second; counting a million rows takes 0.1 s
            with self._database.reading() as db:
                entries, size = db.execute(schema.COUNTS, (self._tree,)).fetchone()
            self._counted = writes, (entries, int(size))
        return self._counted[1]

    def version(self) -> int:
        """Return the number of writes by this object so far."""
        return self._recent.find(())[1]

    def root_identity(self) -> Identity | None:
        """Return the identity of the root that this catalog describes; None if the catalog is new."""
        with self._database.reading() as db:
            row = db.execute(
                "SELECT device, inode FROM trees WHERE id = ?", (self._tree,)
            ).fetchone()
        if row is None or row[0] is None:
            return None
        noted = self._note("filesystem")  # empty in catalogs of earlier releases
        return Identity(int(row[0]), int(row[1]), int(noted) if noted.isdecimal() else 0)

    def set_root_identity(self, identity: Identity) -> None:
        """Store the identity of the root that this catalog describes."""
        device, inode = map(schema.number_of, identity[:2])
        with self._database.writing() as db:
            db.execute(
                "UPDATE trees SET device = ?, inode = ? WHERE id = ?", (device, inode, self._tree)
            )
            note = f"filesystem {self._tree}", str(identity.filesystem)
            db.execute(schema.PUT_NOTE, note)

    def paused(self) -> str:
        """Return why deletions are paused; empty if they are not."""
        return self._note("paused")

    def pause(self, reason: str, before: int, paths: Iterable[bytes]) -> None:
        """Store that deletions are paused; see `ports.Catalog`."""
        with self._database.writing() as db:
            withheld.pause(db, self._tree, reason, before, paths)

    def unpause(self) -> None:
        """Store that deletions are not paused, and remove the withheld paths."""
        with self._database.writing() as db:
            withheld.unpause(db, self._tree)

    def withheld(self) -> tuple[int, int] | None:
        """Return how many of the withheld paths are still missing, and the number of paths before; see `ports.Catalog`."""
        with self._database.reading() as db:
            return withheld.missing(db, self._tree)

    def withheld_samples(self, most: int) -> list[bytes]:
        """Return some of the withheld paths that are still missing."""
        with self._database.reading() as db:
            return withheld.samples(db, self._tree, most)

    def mounts(self) -> dict[bytes, str]:
        """Return the mounts below the root as of the last `set_mounts`: path to file system identity."""
        try:
            noted = json.loads(self._note("mounts") or "{}")
            return {os.fsencode(path): str(identity) for path, identity in noted.items()}
        except (ValueError, AttributeError):  # damage
            return {}

    def set_mounts(self, mounts: Mapping[bytes, str]) -> None:
        """Store the mounts below the root."""
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
