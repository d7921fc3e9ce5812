"""The SQLite file of the catalogs, its connections, and recovery from damage.

Writes use one connection under a lock. Each read uses a connection of its own from a pool, sees the last commit, and in WAL mode
never waits for the writer.

The file can be rebuilt from the sources at any time. At the start, a file that is damaged or has another schema is moved aside, and a
new one is created, which costs one read of all sources. If damage is found during use, a marker file is created beside it, the operator
is asked to restart the daemon, and the next start moves the file aside.
"""

from __future__ import annotations

import os
import re
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from replicator.catalog import history, schema, withheld
from replicator.errors import SourceError

_PRAGMAS = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA busy_timeout = 5000;
PRAGMA journal_size_limit = 67108864;
PRAGMA cache_size = -8192;
"""
KEPT = 3
"""Damaged files that are kept for inspection. Each is as large as the catalog was: about 1 GB for a million files."""

_DAMAGED = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))


class Database:
    """The file and its connections. Thread-safe.

    Args:
        path: the file; created if missing.
        rebuilt: initial value of the attribute.

    Attributes:
        multiplier: random odd 32-bit number, created once per catalog; the key of the weak block sums.
        rebuilt: why an earlier catalog was replaced; empty if none was.
        on_damage: called with a sentence, in any thread, when damage is found during use.
    """

    def __init__(self, path: Path, rebuilt: str) -> None:
        self.rebuilt = rebuilt
        self.on_damage: Callable[[str], object] = lambda _: None
        self._path = path
        self._lock = threading.RLock()
        self._closed = False
        self._idle: list[sqlite3.Connection] = []
        self._writer = self._connect()
        try:
            self.multiplier = self._prepare()
        except BaseException:
            self._writer.close()
            raise

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open the file `path`; create it with mode 0600 if missing, and replace it if damaged.

        Raises:
            SourceError: if it cannot be created, read or written.
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

    def close(self) -> None:
        """Close the connections; later calls raise SourceError."""
        with self._lock:
            self._closed = True
            self._close_idle()
            self._writer.close()  # last: closing the last connection merges the WAL into the file

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Run the block in a write transaction; roll back if it raises.

        Raises:
            SourceError: if the file cannot be written (full disk, damage).
        """
        with self._lock, self._translated():
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
        """Provide a connection for reads that no other thread uses during the block.

        Raises:
            SourceError: if the file cannot be read.
        """
        with self._translated():
            try:
                db = self._idle.pop()
            except IndexError:
                db = self._connect()
            try:
                yield db
            finally:
                self._idle.append(db)
                if self._closed:  # after `append`: `close` may have emptied the list just before
                    self._close_idle()

    def _close_idle(self) -> None:
        with suppress(IndexError):  # another thread may remove the last one at the same time
            while True:
                self._idle.pop().close()

    def _connect(self) -> sqlite3.Connection:
        if self._closed:
            raise sqlite3.ProgrammingError("it is closed")
        # SQLite creates -wal and -shm with the permissions of the main file.
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
        """Create the tables of a new file, or check an existing one; return the multiplier."""
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
        # quick_check finds broken pages and keys out of order, which would hide paths from a comparison. Rows have checksums.
        (found,) = self._writer.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise _OtherSchema(" ".join(found.split()))
        self._writer.execute(history.CREATE)
        self._writer.execute(withheld.CREATE)
        return _multiplier(meta)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn errors of SQLite into SourceError, and record damage."""
        try:
            yield
        except schema.RowDamaged as error:
            raise self._damaged("a row is not what was written") from error
        except sqlite3.Error as error:
            if _is_damage(error):
                raise self._damaged(str(error)) from error
            raise SourceError(f"The catalog {self._path} cannot be used: {error}.") from error
        except OSError as error:  # its directory was removed
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
    """The file is damaged, not a catalog, or of another schema version."""


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
    """Rename the file with its -wal and -shm to the next `<name>.broken-N`; keep only the last KEPT of these."""
    parts = ("", "-wal", "-shm")
    kept = _moved_aside(path)
    target = path.with_name(f"{path.name}.broken-{max(kept, default=0) + 1}")
    for number in kept[: max(len(kept) - KEPT + 1, 0)]:
        for suffix in parts:
            with suppress(OSError):
                path.with_name(f"{path.name}.broken-{number}{suffix}").unlink(missing_ok=True)
    for suffix in parts:
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(target.with_name(target.name + suffix))
    _suspect(path).unlink(missing_ok=True)
    return target


def _moved_aside(path: Path) -> list[int]:
    """Return the numbers N of the files that were moved aside, the oldest first."""
    form = re.compile(re.escape(path.name) + r"\.broken-([0-9]{1,9})")
    found = (form.fullmatch(one.name) for one in path.parent.iterdir())
    return sorted(int(match[1]) for match in found if match)
