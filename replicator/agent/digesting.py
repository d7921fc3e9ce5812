"""Digests of the directories of a tree, made in small steps, so that live changes never wait for a long walk."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from typing import Generator, Iterator, Optional

from replicator.agent.descriptors import sweep
from replicator.agent.store import Store
from replicator.errors import ProtocolError
from replicator.files.walk import DIRECTORY_FLAGS, Level, descend, push
from replicator.model import DIRECTORY, FILE, MAX_NAME, SYMLINK, is_path, join, parent, too_deep
from replicator.wire.digests import Descend, Digests, DigestTree, digest_of, line_of
from replicator.wire.fields import DIGEST_SIZE

STEP = 500
"""Paths between two checks for input: about 2 ms."""

SAYING = 1.0
"""Seconds between two frames that report progress."""

ROOM = 32 << 20
"""Bytes of names and digests that are kept: about 400,000 directories. Of a larger tree, only the digest of the whole is known."""

ROWS = 2000
"""Digests in a frame."""

ROWS_ROOM = 512 << 10
"""Bytes of JSON that the paths in a frame may take at worst."""

_UNKNOWN = bytes(DIGEST_SIZE)


class DigestJob:
    """A walk in progress, or its result: the digests of all directories, until the next walk.

    Raises:
        Fenced: a newer agent has taken over.
    """

    def __init__(self, store: Store, request: DigestTree) -> None:
        store.lease.take_over()  # the digests would not show what an older agent changes after it
        self.job = request.job
        self.store = store
        self.credit = request.credit
        self._below = request.below
        self._sent: dict[bytes, bytes] = {}
        self._named: set[bytes] = set()
        self._walk = _Walk(store, request)
        self._steps: Optional[Iterator[Optional[Digests]]] = self._walk.steps()

    @staticmethod
    def pause() -> float:
        """Return the seconds until the next step: none, because a walk reads no contents."""
        return 0.0

    def step(self) -> Optional[Digests]:
        """Work for a few milliseconds; return the next frame, or None if it needs further steps."""
        digests = next(self._steps) if self._steps is not None else None
        if digests is not None:
            self.credit -= 1
            if digests.end:
                self._steps = None
        return digests

    def descend(self, request: Descend) -> None:
        """Answer a request in the next steps.

        Raises:
            ProtocolError: the last answer is not complete.
        """
        if self._steps is not None:
            raise ProtocolError("a request for digests before the last was answered")
        opened = [path for path in request.opened if self._is_new(path)]
        self._named.update(opened)
        self._named.update(filter(self._is_new, request.whole))
        self.credit += 1
        self._steps = self._answer(opened)

    def left_out(self, path: bytes) -> bytes:
        """Return the digest of a directory below which nothing is listed; empty if it is listed."""
        return b"" if path in self._named else self._sent.get(path, b"")

    def _is_new(self, path: bytes) -> bool:
        return (path == self._below or path in self._sent) and path not in self._named

    def _answer(self, opened: list[bytes]) -> Iterator[Optional[Digests]]:
        rows: list[tuple[bytes, bytes]] = []
        room = ROWS_ROOM
        for directory in opened:
            for path, digest in self._walk.rows(directory):
                self._sent[path] = digest
                rows.append((path, digest))
                room -= 6 * len(path)
                if len(rows) >= ROWS or room <= 0:
                    yield Digests(self.job, tuple(rows), 0, end=False)
                    rows, room = [], ROWS_ROOM
        yield Digests(self.job, tuple(rows), 0, end=True)


class _Walk:
    """A walk. Its steps hold descriptors: no reference cycle may keep them when the job is dropped.

    Args:
        store: the tree.
        request: the request.
    """

    def __init__(self, store: Store, request: DigestTree) -> None:
        self._job = request.job
        self._store = store
        self._bits = request.bits
        self._below = request.below
        self._skipped = request.skipped
        self._held: dict[bytes, bytes] = {}  # by directory: names and digests of its directories
        self._held_size = 0
        self._walked = 0
        self._said_at = time.monotonic()

    def rows(self, directory: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the paths and digests of the directories in a directory."""
        held = self._held.get(directory, b"")
        start = 0
        while start < len(held):
            middle = held.index(b"\0", start)
            end = middle + 1 + DIGEST_SIZE
            digest = held[middle + 1 : end]
            yield join(directory, held[start:middle]), b"" if digest == _UNKNOWN else digest
            start = end

    def steps(self) -> Iterator[Optional[Digests]]:
        """Walk; yield None after each step, or a frame that reports progress, and at last the frame with the result."""
        stack: list[_Open] = []
        levels: list[Level] = []
        tree, below = self._store.tree, self._below
        if not too_deep(below):
            # Opened again, as in `files.walk`: two walks must not share the read position of the directory.
            push(
                levels,
                below,
                lambda: os.open(b".", DIRECTORY_FLAGS, dir_fd=tree.directory(below)),
                sweep,
            )
        digest = b""
        try:
            if levels:
                stack.append(_Open(b"", self._names_skipped(below)))
            while stack:
                if (yield from self._files(levels, stack)):
                    continue
                done, level = stack.pop(), levels.pop()
                os.close(level.fd)
                digest = done.digest()
                self._hold(level.path, done.held)
                if stack:
                    stack[-1].add(done.line, level.path.rpartition(b"/")[2], digest)
        finally:
            for level in levels:
                os.close(level.fd)
        yield Digests(self._job, ((below, digest),), self._walked, end=True)

    def _files(
        self, levels: list[Level], stack: list[_Open]
    ) -> Generator[Optional[Digests], None, bool]:
        """Add what the innermost directory holds, up to the next directory; return True if that was pushed, False at the end."""
        level, into = levels[-1], stack[-1]
        at, directory, skipped = level.fd, level.path, into.skipped
        room, bits, owner = MAX_NAME - len(directory) - 1, self._bits, self._store.owner
        any_owner = owner == (-1, -1)
        for name in level.names:
            self._walked += 1
            if self._walked % STEP == 0:
                into.flush()
                yield self._progress()
            if name in skipped or (len(name) > room and not is_path(join(directory, name))):
                continue
            try:
                status = os.stat(name, dir_fd=at, follow_symlinks=False)
                line = _line(status, at, name, bits)
            except FileNotFoundError:
                continue
            except OSError:
                into.is_known = False
                continue
            if not any_owner and line and not _is_owned(status, owner):
                into.is_known = False
            if not stat.S_ISDIR(status.st_mode):
                into.lines.append(line)
                continue
            path = join(directory, name)
            descend(levels, path, name, sweep)
            if levels[-1] is not level:
                stack.append(_Open(line, self._names_skipped(path)))
                return True
            into.is_known = False  # it could not be opened
        return False

    def _progress(self) -> Optional[Digests]:
        """Return a frame that reports progress, if it is time for one."""
        now = time.monotonic()
        if now - self._said_at < SAYING:
            return None
        self._said_at = now
        walked, self._walked = self._walked, 0
        return Digests(self._job, (), walked, end=False)

    def _names_skipped(self, directory: bytes) -> frozenset[bytes]:
        return frozenset(
            path.rpartition(b"/")[2] for path in self._skipped if parent(path) == directory
        )

    def _hold(self, directory: bytes, held: bytearray) -> None:
        """Keep the digests of what a directory directly holds, until there are too many."""
        if held and self._held_size <= ROOM:
            self._held[directory] = bytes(held)
            self._held_size += len(directory) + len(held)
            if self._held_size > ROOM:
                self._held.clear()


class _Open:
    """A directory that is being walked: the lines of what it holds so far.

    Attributes:
        line: its own line.
        skipped: names that do not count.
        lines: lines of files and symlinks that are not hashed yet.
        held: names and digests of its directories.
        is_known: False if it has no digest.
    """

    __slots__ = ("_directories", "_hash", "held", "is_known", "line", "lines", "skipped")

    def __init__(self, line: bytes, skipped: frozenset[bytes]) -> None:
        self.line = line
        self.skipped = skipped
        self.lines: list[bytes] = []
        self.held = bytearray()
        self.is_known = True
        self._hash = hashlib.sha256()
        self._directories: list[bytes] = []

    def flush(self) -> None:
        """Hash the lines so far."""
        self._hash.update(b"".join(self.lines))
        self.lines.clear()

    def add(self, line: bytes, name: bytes, digest: bytes) -> None:
        """Add a directory whose digest is now known; an empty one makes this one unknown."""
        self._directories.append(line + digest)
        self.held += name + b"\0" + (digest or _UNKNOWN)
        if not digest:
            self.is_known = False

    def digest(self) -> bytes:
        """Return the digest; empty if there is none."""
        self.flush()
        return digest_of(self._hash.digest(), self._directories) if self.is_known else b""


def _line(status: os.stat_result, at: int, name: bytes, bits: int) -> bytes:
    """Return the line of an entry; empty for a special file.

    Raises:
        OSError: a symlink cannot be read.
    """
    mode, mtime_ns = status.st_mode, status.st_mtime_ns
    if stat.S_ISREG(mode):
        return line_of(FILE, mode & bits, status.st_size, mtime_ns, b"", name)
    if stat.S_ISDIR(mode):
        return line_of(DIRECTORY, mode & bits, 0, mtime_ns, b"", name)
    if stat.S_ISLNK(mode):
        return line_of(SYMLINK, 0, 0, mtime_ns, os.readlink(name, dir_fd=at), name)
    return b""


def _is_owned(status: os.stat_result, owner: tuple[int, int]) -> bool:
    uid, gid = owner
    return uid in (-1, status.st_uid) and gid in (-1, status.st_gid)
