"""One SQLite file that can be thrown away at any time.

Writes go through one connection under a lock; each read takes an idle connection of its own, sees the last commit, and
in WAL mode never waits for the writer.

Nothing in here is precious: a file that is damaged, or of another schema, is moved aside and begun anew, which costs one
reading of the sources. Damage that shows only later is noted in a file beside, and acted upon at the next start, for which the
owner is asked.
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
"""Damaged files that are kept beside, for a person to look at: each is as large as the catalog was, a gigabyte for a million files."""

_DAMAGED = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))


class Database:
    """One file, its connections, and what becomes of it when it is damaged.

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
        self._idle: list[sqlite3.Connection] = []
        self._writer = self._connect()
        try:
            self.multiplier = self._prepare()
        except BaseException:
            self._writer.close()
            raise

    @classmethod
    def open(cls, path: str | Path) -> Self:
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
        self._writer.execute(history.CREATE)
        self._writer.execute(withheld.CREATE)
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
    """Rename the file, and what belongs to it, to the next `<name>.broken-N`; only the last few of these stay."""
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
    """Return the numbers of the files that were moved aside, the oldest first."""
    form = re.compile(re.escape(path.name) + r"\.broken-([0-9]{1,9})")
    found = (form.fullmatch(one.name) for one in path.parent.iterdir())
    return sorted(int(match[1]) for match in found if match)
