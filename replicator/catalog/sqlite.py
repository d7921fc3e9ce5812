"""The catalogs of all trees in one SQLite file.

Writes go through one connection under a lock; each read takes an idle connection of its own, sees the last commit, and
in WAL mode never waits for the writer.

Nothing in here is precious: a file that is damaged, or of another schema, is moved aside and begun anew, which costs one
reading of the sources. Damage that shows only later is noted in a file beside, and acted upon at the next start, for which the
owner is asked.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from replicator.catalog import schema
from replicator.catalog.recent import Recent
from replicator.errors import SourceError
from replicator.model import FILE, key
from replicator.ports import Record

_PRAGMAS = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA busy_timeout = 5000;
PRAGMA journal_size_limit = 67108864;
PRAGMA cache_size = -8192;
"""
_DAMAGED = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))


class CatalogStore:
    """One file with the catalogs of all trees.

    Attributes:
        multiplier: odd 32-bit number made once for each catalog; keys the weak block sums.
        rebuilt: why the catalog was begun anew; empty if it was not (nor when there was none).
        on_damage: called with a sentence, in any thread, when damage shows in use.
    """

    def __init__(self, path: Path, rebuilt: str) -> None:
        self.rebuilt = rebuilt
        self.on_damage: Callable[[str], object] = lambda _: None
        self._path = path
        self._lock = threading.RLock()
        self._closed = False
        self._trees: dict[int, SqliteCatalog] = {}
        self._idle: list[sqlite3.Connection] = []
        self._writer = self._connect()
        try:
            self.multiplier = self._prepare()
        except BaseException:
            self._writer.close()
            raise

    @classmethod
    def open(cls, path: str | Path) -> CatalogStore:
        """Open the file `path`, which is made if missing, readable by its owner alone.

        Raises:
            SourceError: it cannot be made, read or written.
        """
        path = Path(path)
        try:
            if _suspect(path).exists():
                reason = "damage was found in it while it was in use"
            else:
                try:
                    return cls(path, "")
                except sqlite3.DatabaseError as error:
                    if not _is_damage(error):
                        raise
                    reason = str(error)
            moved = _move_aside(path)
            return cls(path, f"{path}: {reason}; it was moved to {moved}")
        except (OSError, sqlite3.Error) as error:
            raise SourceError(f"The catalog {path} cannot be opened: {error}.") from error

    def tree(self, source: bytes) -> SqliteCatalog:
        """Return the catalog of the tree whose root is `source`."""
        with self.writing() as db:
            db.execute("INSERT OR IGNORE INTO trees (source) VALUES (?)", (source,))
            number = db.execute("SELECT id FROM trees WHERE source = ?", (source,)).fetchone()[0]
        # One object for each tree, however often it is asked for: it knows what was read last.
        return self._trees.setdefault(number, SqliteCatalog(self, number))

    def close(self) -> None:
        """Release the file; what is used afterwards raises SourceError."""
        with self._lock:
            self._closed = True
            while self._idle:
                self._idle.pop().close()
            self._writer.close()  # the last to go: it folds the WAL into the file

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction of the only writer; undone if the block fails.

        Raises:
            SourceError: the file cannot be written (full disk, damage).
        """
        with self._lock, self._told():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:  # SQLite itself rolls back on a full disk
                    self._writer.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for reads, nobody else's for as long as the block lasts.

        Raises:
            SourceError: the file cannot be read.
        """
        with self._told():
            try:
                db = self._idle.pop()
            except IndexError:
                db = self._connect()
            try:
                yield db
            finally:
                if self._closed:
                    db.close()
                else:
                    self._idle.append(db)

    def _connect(self) -> sqlite3.Connection:
        if self._closed:
            raise sqlite3.ProgrammingError("it is closed")
        # SQLite gives -wal and -shm the permissions of the file itself.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._path.chmod(0o600)
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            db.executescript(_PRAGMAS)
        except BaseException:
            db.close()
            raise
        return db

    def _prepare(self) -> int:
        """Make the tables in a new file, or see that an old one is sound; return the multiplier."""
        self._writer.execute("BEGIN IMMEDIATE")
        if not self._writer.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            for statement in filter(str.strip, schema.CREATE.split(";")):
                self._writer.execute(statement)
            made = [("schema", schema.VERSION), ("multiplier", str(secrets.randbits(32) | 1))]
            self._writer.executemany("INSERT INTO meta VALUES (?, ?)", made)
        self._writer.execute("COMMIT")
        try:
            meta = dict(self._writer.execute("SELECT name, value FROM meta"))
        except sqlite3.OperationalError as error:
            raise _OtherSchema("it is not a catalog") from error
        if meta.get("schema") != schema.VERSION:
            raise _OtherSchema(f"its schema is {meta.get('schema')}, not {schema.VERSION}")
        # Finds broken pages and keys out of order, which would hide paths from a comparison; rows tell of themselves.
        (found,) = self._writer.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise _OtherSchema(" ".join(found.split()))
        return _multiplier(meta)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except schema.RowDamaged as error:
            raise self._damaged("a row is not what was written") from error
        except sqlite3.Error as error:
            if _is_damage(error):
                raise self._damaged(str(error)) from error
            raise SourceError(f"The catalog {self._path} cannot be used: {error}.") from error

    def _damaged(self, what: str) -> SourceError:
        with suppress(OSError):
            _suspect(self._path).touch(0o600)
        text = (
            f"The catalog {self._path} cannot be used: {what}."
            " Restart the daemon: it will begin a new one, and read the sources once."
        )
        self.on_damage(text)
        return SourceError(text)


class _OtherSchema(sqlite3.DatabaseError):
    """The file is no sound catalog of ours, or of another version."""


def _multiplier(meta: Mapping[str, str]) -> int:
    try:
        return int(meta["multiplier"]) & 0xFFFFFFFF | 1
    except (KeyError, ValueError) as error:
        raise _OtherSchema("it has no multiplier") from error


def _is_damage(error: sqlite3.Error) -> bool:
    code: int = getattr(error, "sqlite_errorcode", 0)
    return isinstance(error, _OtherSchema) or code & 0xFF in _DAMAGED


def _suspect(path: Path) -> Path:
    return path.with_name(path.name + ".suspect")


def _move_aside(path: Path) -> Path:
    """Rename the file, and what belongs to it, to the first free `<name>.broken-N`."""
    number = 1
    while (target := path.with_name(f"{path.name}.broken-{number}")).exists():
        number += 1
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(target.with_name(target.name + suffix))
    _suspect(path).unlink(missing_ok=True)
    return target


class SqliteCatalog:
    """One tree's catalog; see `ports.Catalog`. Every call may raise SourceError when the file fails.

    Args:
        store: the file.
        number: the tree's row.
    """

    def __init__(self, store: CatalogStore, number: int) -> None:
        self._store = store
        self._tree = number
        self._recent = Recent()

    def get(self, paths: Sequence[bytes]) -> dict[bytes, Record]:
        """Return the records of those of `paths` that exist."""
        found, writes = self._recent.find(paths)
        missing = [path for path in paths if path not in found]
        if missing:
            with self._store.reading() as db:
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
        with self._store.reading() as db:
            rows = db.execute(schema.SCAN, (self._tree, low, high, limit)).fetchall()
            records = list(map(schema.record_of, rows))
        self._recent.keep(records, writes)
        return records

    def below(self, directory: bytes) -> list[bytes]:
        """Return the paths strictly below `directory`, in key order."""
        with self._store.reading() as db:
            rows = db.execute(
                schema.BELOW, (self._tree, key(directory), schema.end_of(key(directory)))
            )
            return [schema.path_of(row[0]) for row in rows]

    def sharing(self, inode: int) -> list[bytes]:
        """Return the recorded paths of an inode, in key order."""
        with self._store.reading() as db:
            rows = db.execute(schema.SHARING, (self._tree, schema.number_of(inode)))
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
        with self._store.writing() as db:
            db.executemany(schema.FORGET, lost)
            db.executemany(schema.PUT, schema.rows_of(self._tree, records))
            db.executemany(schema.FORGET_SIGNATURE, lost + stale)
            db.executemany(schema.PUT_SIGNATURE, kept)
        self._recent.written([*gone, *(record.path for record in records)])

    def move(self, source: bytes, target: bytes) -> None:
        """Relabel `source` and all below it as `target`; what was known at or below `target` is forgotten."""
        if source == target:
            return
        with self._store.writing() as db:
            self._relabel(db, key(source), schema.ASIDE)
            for clear in schema.CLEAR:
                db.execute(clear, (self._tree, key(target), schema.end_of(key(target))))
            self._relabel(db, schema.ASIDE, key(target))
        self._recent.all_written()

    def signature(self, path: bytes) -> bytes | None:
        """Return the packed signature of the file's recorded version, if one is kept."""
        with self._store.reading() as db:
            row = db.execute(schema.SIGNATURE, (self._tree, key(path))).fetchone()
        return row[0] if row else None

    def counts(self) -> tuple[int, int]:
        """Return how many records there are, and the bytes of all files."""
        with self._store.reading() as db:
            entries, size = db.execute(schema.COUNTS, (self._tree,)).fetchone()
        return entries, int(size)

    def root_identity(self) -> tuple[int, int] | None:
        """Return (device, inode) of the source root that this catalog describes; None when it is new."""
        with self._store.reading() as db:
            row = db.execute(
                "SELECT device, inode FROM trees WHERE id = ?", (self._tree,)
            ).fetchone()
        return None if row is None or row[0] is None else (int(row[0]), int(row[1]))

    def set_root_identity(self, identity: tuple[int, int]) -> None:
        """Remember which directory this catalog describes."""
        device, inode = map(schema.number_of, identity)
        with self._store.writing() as db:
            db.execute(
                "UPDATE trees SET device = ?, inode = ? WHERE id = ?", (device, inode, self._tree)
            )

    def paused(self) -> str:
        """Return why deletions wait for a person; empty if they do not."""
        with self._store.reading() as db:
            row = db.execute(schema.NOTE, (f"paused {self._tree}",)).fetchone()
        return row[0] if row else ""

    def set_paused(self, reason: str) -> None:
        """Remember why deletions wait for a person; empty: they do not."""
        with self._store.writing() as db:
            db.execute(schema.PUT_NOTE, (f"paused {self._tree}", reason))

    def _relabel(self, db: sqlite3.Connection, source: bytes, target: bytes) -> None:
        for relabel in schema.RELABEL:
            db.execute(
                relabel, (target, len(source) + 1, self._tree, source, schema.end_of(source))
            )
