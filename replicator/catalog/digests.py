"""Digests of the directories of a tree, made from its catalog when a frontend is compared, and kept for all frontends.

A write only records which directories it concerns (`catalog.changed`). The next comparison reads the entries of these directories
again, so its cost depends on the number of changes, not on the size of the tree. The first comparison reads the whole catalog, without
the SHA-256s and stamps.

The catalog is read in rounds. A round takes the changes recorded until it begins, and ends when all directories that they concern were
read. A comparison waits for a round that begins after it; the comparisons of several frontends share one.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

from replicator.catalog.changed import ChangedDirectories
from replicator.model import DIRECTORY, join, parent
from replicator.ports import Child, Record
from replicator.wire.digests import digest_of, line_of

STEP = 1000
"""Entries that are read while the lock is held: about 2 ms."""

MOST_NODES = 200_000
"""Directories of one tree: about 100 MB. A tree with more has no digests, and frontends list it."""

ReadChildren = Callable[[bytes, Child | None, int], list[Child]]
"""See `ports.Catalog.children`."""


class _Node:
    """One directory.

    Attributes:
        line: its own line, without the digest.
        others: SHA-256 of the lines of the files and symlinks in it; empty: unknown, because they were not read yet or because size and
            time do not tell what a frontend holds.
        directories: the directories in it, in the order of their names.
        digest: its digest, empty if there is none; None: to be computed.
    """

    __slots__ = ("digest", "directories", "line", "others")

    def __init__(self, line: bytes) -> None:
        self.line = line
        self.others = b""
        self.directories: dict[bytes, _Node] = {}
        self.digest: bytes | None = None

    def computed(self) -> bytes:
        """Return the digest; empty if there is none."""
        if self.digest is None:
            self.digest = self._compute()
        return self.digest

    def _compute(self) -> bytes:
        lines = []
        for node in self.directories.values():
            below = node.computed()
            if not below:
                return b""
            lines.append(node.line + below)
        return digest_of(self.others, lines) if self.others else b""


class _Reading:
    """A directory whose entries are being read."""

    def __init__(self, path: bytes, node: _Node) -> None:
        self.path = path
        self.node = node
        self.directories: dict[bytes, bytes] = {}
        self.last: Child | None = None
        self.is_known = True
        self._hash = hashlib.sha256()

    def take(self, page: Sequence[Child], bits: int) -> None:
        """Add the next entries."""
        lines = []
        for child in page:
            name, kind, mode, size, mtime_ns, link, is_known = child
            self.is_known = self.is_known and is_known
            line = line_of(kind, mode & bits, size, mtime_ns, link, name)
            if kind == DIRECTORY:
                self.directories[name] = line
            else:
                lines.append(line)
        self._hash.update(b"".join(lines))
        self.last = page[-1] if page else self.last

    def others(self) -> bytes:
        """Return `_Node.others`."""
        return self._hash.digest() if self.is_known else b""


class DirectoryDigests:
    """The digests of one tree. Thread-safe; only `refresh` reads the catalog.

    Args:
        read: returns the entries of a directory.
        get: returns the records of paths.

    Attributes:
        changed: what has changed since the last round began.
    """

    def __init__(
        self, read: ReadChildren, get: Callable[[Sequence[bytes]], dict[bytes, Record]]
    ) -> None:
        self._read = read
        self._get = get
        self._lock = threading.Lock()
        self._bits = 0
        self._rounds = self._ended = 0
        self._is_made = False
        self._root: _Node | None = None
        self._nodes = 0
        self._has_too_many = False
        self._reading: _Reading | None = None
        self._unread: dict[bytes, None] = {}
        self._lines: list[bytes] = []
        self.changed = ChangedDirectories()

    def begin(self, bits: int) -> int:
        """Return the number of the round that a comparison has to wait for.

        Args:
            bits: mode bits that count.
        """
        with self._lock:
            if bits != self._bits:
                self._bits = bits
                self._reset()
            return self._rounds + 1

    def is_made(self, bits: int) -> bool:
        """Return True if a round reads only what has changed."""
        return self._is_made and bits == self._bits

    def refresh(self, number: int) -> bool:
        """Work for a few milliseconds; return True once the round with that number has ended.

        Raises:
            SourceError: if the catalog cannot be read.
        """
        with self._lock:
            try:
                if self._ended < number and not self._has_too_many:
                    self._step()
            except BaseException:
                self._reset()
                raise
            return self._ended >= number or self._has_too_many

    def find(self, paths: Iterable[bytes], bits: int) -> dict[bytes, bytes]:
        """Return the digests of those of `paths` that are directories with the given mode bits; empty for one that has none."""
        with self._lock:
            if bits != self._bits or self._has_too_many:
                return {}
            nodes = ((path, self._node(path)) for path in paths)
            return {path: node.computed() for path, node in nodes if node is not None}

    def _reset(self) -> None:
        self.changed.stop()
        self._root = self._reading = None
        self._nodes = 0
        self._has_too_many = self._is_made = False
        self._unread, self._lines = {}, []

    def _step(self) -> None:
        if self._reading is None and not self._unread and not self._lines:
            self._begin_round()
        room = STEP
        while room > 0 and (self._lines or self._reading or self._unread):
            if self._lines:
                paths, self._lines = self._lines[-room:], self._lines[:-room]
                self._read_lines(paths)
                room -= len(paths)
            else:
                room -= self._read_page(room)
            if self._nodes > MOST_NODES:
                self._reset()
                self._has_too_many = True
                return
        if not (self._lines or self._reading or self._unread):
            self._ended, self._is_made = self._rounds, True

    def _begin_round(self) -> None:
        self._rounds += 1
        changed = self.changed.take()
        if changed is None:
            self._root, self._nodes = _Node(b""), 1
            self._unread = {b"": None}
            return
        for path in changed.replaced:
            self._detach(path)
        for path in (*changed.contents, *map(parent, changed.replaced)):
            self._read_again(path)
        self._lines = list(changed.directories)

    def _read_page(self, room: int) -> int:
        """Read the next entries of a directory; return their number, and 1 for the statement."""
        if self._reading is None:
            path = next(iter(self._unread))
            node = self._node(path)
            if node is None:  # it was removed since
                del self._unread[path]
                return 1
            self._reading = _Reading(path, node)
        reading = self._reading
        page = self._read(reading.path, reading.last, room)
        reading.take(page, self._bits)
        if len(page) < room:
            self._reading = None
            del self._unread[reading.path]
            self._replace(reading)
        return len(page) + 1

    def _replace(self, reading: _Reading) -> None:
        """Give a directory the entries that were read."""
        node, before = reading.node, reading.node.directories
        node.others, node.directories = reading.others(), {}
        for name, line in reading.directories.items():
            below = before.pop(name, None)
            if below is None:
                below = _Node(line)
                self._nodes += 1
                self._unread[join(reading.path, name)] = None
            below.line = line
            node.directories[name] = below
        self._nodes -= sum(map(_size, before.values()))
        self._invalidate(reading.path)

    def _read_lines(self, paths: list[bytes]) -> None:
        """Read the lines of directories again, but not what these hold."""
        records = self._get(paths)
        for path in paths:
            record, node = records.get(path), self._node(path)
            if record is None or node is None or record.ambiguous or record.entry.kind != DIRECTORY:
                self._read_again(parent(path))
                continue
            entry = record.entry
            name = path.rpartition(b"/")[2]
            node.line = line_of(DIRECTORY, entry.mode & self._bits, 0, entry.mtime_ns, b"", name)
            self._invalidate(parent(path))

    def _read_again(self, path: bytes) -> None:
        """Schedule the reading of a directory, or of the nearest one above it that is known."""
        while path and self._node(path) is None:
            path = parent(path)
        self._unread[path] = None

    def _detach(self, path: bytes) -> None:
        """Forget a directory and all below it; its parent is read again."""
        above = self._node(parent(path))
        node = above.directories.pop(path.rpartition(b"/")[2], None) if above else None
        if node is not None:
            self._nodes -= _size(node)

    def _invalidate(self, path: bytes) -> None:
        for node in self._way(path):
            node.digest = None

    def _node(self, path: bytes) -> _Node | None:
        depth = path.count(b"/") + 2 if path else 1
        way = list(self._way(path))
        return way[-1] if len(way) == depth else None

    def _way(self, path: bytes) -> Iterator[_Node]:
        """Yield the root, and the directories on the way to a path, as far as they are known."""
        node = self._root
        if node is None:
            return
        yield node
        for name in path.split(b"/") if path else ():
            node = node.directories.get(name)
            if node is None:
                return
            yield node


def _size(node: _Node) -> int:
    """Return the number of directories at and below a node."""
    return 1 + sum(map(_size, node.directories.values()))
