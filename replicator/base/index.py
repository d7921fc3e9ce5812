"""Where the contents of one tree are, and the rows of the manifest that is being made: an SQLite file that is made anew at each start.

In memory, a million files would take 400 MB. The file needs no durability, because the manifest in the store has the same.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from replicator.model import FILE, Entry, key
from replicator.wire.manifest import EMPTY_DIGEST, Named, Pack, Placed

_CREATE = """
CREATE TABLE packs (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, size INTEGER NOT NULL);
CREATE TABLE contents (digest BLOB PRIMARY KEY, pack INTEGER NOT NULL, start INTEGER NOT NULL, size INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE rows (
  pack INTEGER NOT NULL, start INTEGER NOT NULL, key BLOB NOT NULL,
  kind TEXT NOT NULL, mode INTEGER NOT NULL, size INTEGER NOT NULL, mtime INTEGER NOT NULL, link BLOB NOT NULL, digest BLOB NOT NULL,
  PRIMARY KEY (pack, start, key)
) WITHOUT ROWID;
"""
IndexFailure = sqlite3.Error
"""Raised by every method if the file cannot be used, for example on a full disk."""

_NOWHERE = -1
"""The pack of rows without content."""

_GROUP = 500


class Place(NamedTuple):
    """Where a content is: the number of its pack in the index, and its first byte there."""

    pack: int
    start: int


class Used(NamedTuple):
    """A pack that the rows of the manifest use: its number in the index, and how many of its bytes."""

    number: int
    digest: bytes
    size: int
    live: int


class Index:
    """The contents in the packs of one tree, and the rows of its next manifest. Used by one thread.

    Args:
        path: of the file; it exists only for a moment.
    """

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)  # of a process that was killed below
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + _CREATE)
        path.unlink()  # it goes with this object, also when the process is killed; without a journal, SQLite does not need the name

    def add_pack(self, pack: Pack, contents: Iterable[tuple[bytes, int, int]]) -> int:
        """Record a pack; return its number. `contents` are (digest, first byte, size); those that are known elsewhere move here."""
        row = self._db.execute("SELECT id FROM packs WHERE digest = ?", (pack.digest,)).fetchone()
        if row is None:
            row = self._db.execute(
                "INSERT INTO packs (digest, size) VALUES (?, ?) RETURNING id", pack
            ).fetchone()
        number = int(row[0])
        self._db.executemany(
            "INSERT OR REPLACE INTO contents VALUES (?, ?, ?, ?)",
            ((digest, number, start, size) for digest, start, size in contents),
        )
        return number

    def find(self, digests: Sequence[bytes]) -> dict[bytes, Place]:
        """Return the places of those contents that are in a pack."""
        found = {}
        for first in range(0, len(digests), _GROUP):
            group = digests[first : first + _GROUP]
            marks = ",".join("?" * len(group))
            query = f"SELECT digest, pack, start FROM contents WHERE digest IN ({marks})"  # noqa: S608  # marks only
            for digest, pack, start in self._db.execute(query, group):
                found[digest] = Place(pack, start)
        return found

    def forget_packs(self, digests: Iterable[bytes]) -> None:
        """Forget packs, and that contents are in them."""
        for digest in digests:
            row = self._db.execute("SELECT id FROM packs WHERE digest = ?", (digest,)).fetchone()
            if row is not None:
                self._db.execute("DELETE FROM contents WHERE pack = ?", row)
                self._db.execute("DELETE FROM packs WHERE id = ?", row)

    def pack_digests(self) -> set[bytes]:
        """Return the digests of all recorded packs."""
        return {row[0] for row in self._db.execute("SELECT digest FROM packs")}

    def begin(self) -> None:
        """Begin a manifest without rows."""
        self._db.execute("DELETE FROM rows")

    def add_rows(self, rows: Iterable[tuple[bytes, Entry, Place | None]]) -> None:
        """Add rows: path, entry, and the place of the content; None for a row without content."""
        nowhere = Place(_NOWHERE, 0)
        self._db.execute("BEGIN")
        self._db.executemany(
            "INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    *(place or nowhere),
                    key(path),
                    e.kind,
                    e.mode,
                    e.size,
                    e.mtime_ns,
                    e.link,
                    e.digest,
                )
                for path, e, place in rows
            ),
        )
        self._db.execute("COMMIT")

    def used(self) -> list[Used]:
        """Return the packs that rows use, in the order of their numbers."""
        query = (
            "SELECT id, packs.digest, packs.size, total(live) FROM packs JOIN"
            " (SELECT pack, max(size) AS live FROM rows WHERE pack >= 0 GROUP BY pack, start) AS used"
            " ON used.pack = id GROUP BY id ORDER BY id"
        )
        return [
            Used(n, digest, size, int(live)) for n, digest, size, live in self._db.execute(query)
        ]

    def totals(self) -> tuple[int, int]:
        """Return the number of rows, and the bytes of all their files."""
        rows, size = self._db.execute("SELECT count(*), total(size) FROM rows").fetchone()
        return rows, int(size)

    def names(self) -> Iterator[Named]:
        """Yield the rows without content, in key order."""
        query = "SELECT key, kind, mode, mtime, link FROM rows WHERE pack = ? ORDER BY key"
        for place, kind, mode, mtime, link in self._db.execute(query, (_NOWHERE,)):
            digest = EMPTY_DIGEST if kind == FILE else b""
            yield Named(place.replace(b"\0", b"/"), Entry(kind, mode, 0, mtime, link, digest))

    def files(self, packs: Sequence[Used]) -> Iterator[Placed]:
        """Yield the rows with content in the order of pack, offset and key; a pack is given by its index in `packs`."""
        position = {pack.number: index for index, pack in enumerate(packs)}
        query = (
            "SELECT pack, start, key, mode, size, mtime, digest FROM rows WHERE pack >= 0"
            " ORDER BY pack, start, key"
        )
        for pack, start, place, mode, size, mtime, digest in self._db.execute(query):
            entry = Entry(FILE, mode, size, mtime, b"", digest)
            yield Placed(place.replace(b"\0", b"/"), entry, position[pack], start)

    def close(self) -> None:
        """Remove the file."""
        self._db.close()
