"""What a frontend is owed, read from the catalog and the source at the moment of sending.

`collect` runs in a worker thread. Small files are read whole, a frame's worth at a time; a large one is read a frame at a time
while it is sent. Frames are kept in a cache that all replicas share: frontends that are filled at the same time get the same
bytes, read and framed once, and a frontend that lags behind reads them again from the page cache.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from replicator.core.pending import PendingChange, PendingKind
from replicator.delta.ops import Literal
from replicator.engine.changes.batching import groups
from replicator.engine.changes.encode import (
    CHUNK,
    INLINE_LIMIT,
    EncodedChanges,
    adopt,
    batches,
    change_for,
    data_frame,
    gone,
    next_number,
)
from replicator.engine.changes.frame_cache import FrameCache
from replicator.engine.tree import Tree
from replicator.model import FILE
from replicator.ports import PASSING, Record
from replicator.wire.changes import Change, Delete

CACHE_BYTES = 64 << 20
"""Frames that are kept for other replicas: at 100 MB/s for each, two that are half a second apart still meet."""


PART_BYTES = 1500
"""What a file in a kept frame costs beside its bytes: its name, thrice, and some ten small objects. Tiny files are mostly that."""


class ReadyChange(NamedTuple):
    """A path's change with its content, ready to be framed."""

    due: PendingChange
    change: Change
    content: bytes


class EncodedGroup(NamedTuple):
    """Small files in one frame, the same for every frontend that is owed them."""

    encoded: EncodedChanges
    dues: tuple[PendingChange, ...]


class StreamedFile(NamedTuple):
    """A path whose content must be streamed."""

    due: PendingChange
    record: Record

    def offsets(self) -> range:
        """Return the offsets of its chunks, in bytes."""
        return range(0, self.record.entry.size, CHUNK)


class Unreadable(NamedTuple):
    """A path that cannot be sent now, and why; `passing` if that ends by itself."""

    due: PendingChange
    reason: str
    passing: bool = False


@dataclass
class ReadResult:
    """What `collect` found.

    Attributes:
        ready: single changes.
        groups: small files.
        large: files to stream.
        stuck: cannot be read now.
        settled: nothing needs to be sent (the path is gone, and deletions are not replicated).
    """

    ready: list[ReadyChange] = field(default_factory=list)
    groups: list[EncodedGroup] = field(default_factory=list)
    large: list[StreamedFile] = field(default_factory=list)
    stuck: list[Unreadable] = field(default_factory=list)
    settled: list[PendingChange] = field(default_factory=list)


HASHED = 4 << 30
"""Bytes up to which a frontend is asked to hash what it has: at 150 MB/s that takes 29 s, in which the agent does nothing else. One of
the last release says nothing meanwhile, and `ssh.op_timeout` is 60 s. What is larger is sent."""


class ContentReader:
    """Reads for all replicas.

    Args:
        trees: the trees, by number; may gain and lose entries while in use.
    """

    def __init__(self, trees: Mapping[int, Tree]) -> None:
        self._trees = trees
        self._lock = threading.Lock()
        self._frames: FrameCache[bytes] = FrameCache(CACHE_BYTES, len)
        self._parcels: FrameCache[EncodedChanges] = FrameCache(CACHE_BYTES, _weight)
        self._numbers: OrderedDict[tuple[object, ...], int] = OrderedDict()
        self._readers: Counter[int] = Counter()

    def collect(self, dues: Sequence[PendingChange]) -> ReadResult:
        """Look up and read what is due; blocks."""
        result = ReadResult()
        for number in {due.key.tree for due in dues}:
            of_tree = [due for due in dues if due.key.tree == number]
            with self._reading(number) as tree:
                if tree is None:
                    result.settled.extend(of_tree)
                else:
                    self._collect(tree, of_tree, result)
        return result

    def is_reading(self, number: int) -> bool:
        """Return True while some thread reads a tree, also one that was removed meanwhile."""
        with self._lock:
            return number in self._readers

    @contextmanager
    def _reading(self, number: int) -> Iterator[Tree | None]:
        """Yield a tree; its source is not closed before this ends. None: the tree was removed."""
        with self._lock:
            self._readers[number] += 1
        try:
            yield self._trees.get(number)
        finally:
            with self._lock:
                self._readers[number] -= 1
                if not self._readers[number]:
                    del self._readers[number]

    def _collect(self, tree: Tree, of_tree: Sequence[PendingChange], result: ReadResult) -> None:
        """Look up and read what is due of one tree."""
        with tree.catalog.renaming:
            records = tree.catalog.get([due.key.path for due in of_tree])
        small: list[tuple[PendingChange, Record]] = []
        for due in of_tree:
            record = records.get(due.key.path)
            if doubt := tree.source.doubt(due.key.path):
                result.stuck.append(Unreadable(due, f"on the backend: {doubt}"))
            elif record is not None and record.entry.kind == FILE and _is_readable(due, record):
                small.append((due, record))
            else:
                self._supply(tree, due, record, result)
        self._supply_contents(tree, small, result)

    def _supply(
        self, tree: Tree, due: PendingChange, record: Record | None, result: ReadResult
    ) -> None:
        """Supply whatever needs no content read here."""
        number, path = due.key
        if record is None:
            if tree.state.deletions_allowed and not tree.state.holds(path):
                result.ready.append(ReadyChange(due, gone(number, path), b""))
            else:
                result.settled.append(due)
        elif record.entry.kind != FILE:
            result.ready.append(ReadyChange(due, change_for(number, path, record.entry), b""))
        elif record.problem:
            passing = record.problem in PASSING
            result.stuck.append(Unreadable(due, f"on the backend: {record.problem}", passing))
        elif due.owed < PendingKind.CONTENT and not _takes_long_to_hash(due, record):
            change = adopt(number, path, record.entry, content=due.owed is PendingKind.ADOPT)
            result.ready.append(ReadyChange(due, change, b""))
        else:
            result.large.append(StreamedFile(due, record))

    def _supply_contents(
        self, tree: Tree, small: Sequence[tuple[PendingChange, Record]], result: ReadResult
    ) -> None:
        if any(isinstance(ready.change, Delete) for ready in result.ready):
            # A file may have to wait until what is in its place is gone: the order of all of them counts.
            for (due, record), content in self._read(tree, small, result):
                change = change_for(due.key.tree, due.key.path, record.entry)
                result.ready.append(ReadyChange(due, change, content))
            return
        for group in groups((due.key.path, rec.entry.size, (due, rec)) for due, rec in small):
            # The digest too: a stamp that is not firm yet may be that of two versions.
            key = tuple((due.key, record.stamp, record.entry.digest) for due, record in group)
            encoded = self._parcels.get(key, partial(self._make_parcel, tree, group, result))
            if encoded is not None:
                result.groups.append(EncodedGroup(encoded, tuple(due for due, _ in group)))

    def _make_parcel(
        self, tree: Tree, group: Sequence[tuple[PendingChange, Record]], result: ReadResult
    ) -> EncodedChanges | None:
        """Return the frame of a group; None if some file is not what it was, and then the others go alone."""
        found = list(self._read(tree, group, result))
        if len(found) < len(group):
            result.ready += [
                ReadyChange(due, change_for(due.key.tree, due.key.path, record.entry), content)
                for (due, record), content in found
            ]
            return None
        changes = [
            (change_for(due.key.tree, due.key.path, record.entry), content)
            for (due, record), content in found
        ]
        (encoded,) = batches(changes)
        return encoded

    def _read(
        self, tree: Tree, small: Sequence[tuple[PendingChange, Record]], result: ReadResult
    ) -> Iterator[tuple[tuple[PendingChange, Record], bytes]]:
        contents = tree.source.read_whole([(due.key.path, record.stamp) for due, record in small])
        for one, content in zip(small, contents, strict=True):
            if content is None:
                tree.state.recheck(one[0].key.path)
                reason = "on the backend: changed while it was read"
                result.stuck.append(Unreadable(one[0], reason, passing=True))
            else:
                yield one, content

    def frame(self, large: StreamedFile, number: int, offset: int) -> bytes | None:
        """Return the frame of a large file's content at `offset`; None if that version is gone. Blocks.

        Args:
            large: the file.
            number: the change's; `number_of` gives all frontends the same, so that they share the frame.
            offset: bytes.
        """
        return self._frames.get((number, offset), partial(self._make_frame, large, number, offset))

    def number_of(self, large: StreamedFile) -> int:
        """Return the change number of a version of a large file: the same for all frontends."""
        key = (large.due.key, large.record.stamp, large.record.entry.digest)
        with self._lock:
            number = self._numbers.setdefault(key, 0) or next_number()
            self._numbers[key] = number
            if len(self._numbers) > 1024:
                self._numbers.popitem(last=False)
        return number

    def _make_frame(self, large: StreamedFile, number: int, offset: int) -> bytes | None:
        key = large.due.key
        length = min(CHUNK, large.record.entry.size - offset)
        with self._reading(key.tree) as tree:
            if tree is None:
                return None
            piece = tree.source.read(key.path, large.record.stamp, offset, length)
            if piece is None:
                tree.state.recheck(key.path)
                return None
        return data_frame(number, [Literal(piece)])


def _weight(encoded: EncodedChanges) -> int:
    return encoded.size + PART_BYTES * len(encoded.parts)


def _takes_long_to_hash(due: PendingChange, record: Record) -> bool:
    return due.owed is PendingKind.ADOPT and record.entry.size > HASHED


def _is_readable(due: PendingChange, record: Record) -> bool:
    """Return True for a file whose content is owed, and travels in a batch."""
    return (
        not record.problem and due.owed is PendingKind.CONTENT and record.entry.size <= INLINE_LIMIT
    )
