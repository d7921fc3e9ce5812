"""What a frontend is owed, read from the catalog and the source at the moment of sending.

`collect` runs in a worker thread. Small files are read whole, a frame's worth at a time; a large one is read a frame at a time
while it is sent. Frames are kept in a cache that all replicas share: frontends that are filled at the same time get the same
bytes, read and framed once, and a frontend that lags behind reads them again from the page cache.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from replicator.core.debts import Due, Owed
from replicator.delta.ops import Literal
from replicator.engine.batching import groups
from replicator.engine.findings import PASSING
from replicator.engine.framecache import FrameCache
from replicator.engine.parcel import (
    CHUNK,
    INLINE_LIMIT,
    Parcel,
    adopt,
    batches,
    change_for,
    data_frame,
    gone,
    next_number,
)
from replicator.model import FILE
from replicator.ports import Catalog, Record, Source
from replicator.wire.changes import Change, Delete

CACHE_BYTES = 64 << 20
"""Frames that are kept for other replicas: at 100 MB/s for each, two that are half a second apart still meet."""


PART_BYTES = 1500
"""What a file in a kept frame costs beside its bytes: its name, thrice, and some ten small objects. Tiny files are mostly that."""


class Ready(NamedTuple):
    """A path's change with its content, ready to be framed."""

    due: Due
    change: Change
    content: bytes


class Group(NamedTuple):
    """Small files in one frame, the same for every frontend that is owed them."""

    parcel: Parcel
    dues: tuple[Due, ...]


class Large(NamedTuple):
    """A path whose content must be streamed."""

    due: Due
    record: Record

    def offsets(self) -> range:
        """Return the offsets of its chunks, in bytes."""
        return range(0, self.record.entry.size, CHUNK)


class Stuck(NamedTuple):
    """A path that cannot be sent now, and why; `passing` if that ends by itself."""

    due: Due
    reason: str
    passing: bool = False


@dataclass
class Supplies:
    """What `collect` found.

    Attributes:
        ready: single changes.
        groups: small files.
        large: files to stream.
        stuck: cannot be read now.
        settled: nothing needs to be sent (the path is gone, and deletions are not replicated).
    """

    ready: list[Ready] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    large: list[Large] = field(default_factory=list)
    stuck: list[Stuck] = field(default_factory=list)
    settled: list[Due] = field(default_factory=list)


HASHED = 4 << 30
"""Bytes up to which a frontend is asked to hash what it has: at 150 MB/s that takes 29 s, in which the agent does nothing else. One of
the last release says nothing meanwhile, and `ssh.op_timeout` is 60 s. What is larger is sent."""


class Shelf(NamedTuple):
    """Where one tree's supplies come from."""

    source: Source
    catalog: Catalog
    delete: Callable[[], bool]
    """Whether what is gone here shall go on the frontends."""
    look_again: Callable[[bytes], None]
    """Told when a file is not what the catalog says."""
    held: Callable[[bytes], bool] = lambda _path: False
    """Whether a deletion is held back until it is known not to be one of too many."""


class Supply:
    """Reads for all replicas.

    Args:
        shelves: the trees, by number; may gain and lose entries while in use.
    """

    def __init__(self, shelves: Mapping[int, Shelf]) -> None:
        self._shelves = shelves
        self._lock = threading.Lock()
        self._frames: FrameCache[bytes] = FrameCache(CACHE_BYTES, len)
        self._parcels: FrameCache[Parcel] = FrameCache(CACHE_BYTES, _weight)
        self._numbers: OrderedDict[tuple[object, ...], int] = OrderedDict()
        self._readers: Counter[int] = Counter()

    def collect(self, dues: Sequence[Due]) -> Supplies:
        """Look up and read what is due; blocks."""
        supplies = Supplies()
        for tree in {due.key.tree for due in dues}:
            of_tree = [due for due in dues if due.key.tree == tree]
            with self._reading(tree) as shelf:
                if shelf is None:
                    supplies.settled.extend(of_tree)
                else:
                    self._collect(shelf, of_tree, supplies)
        return supplies

    def is_reading(self, tree: int) -> bool:
        """Return True while some thread reads a tree, also one that was removed meanwhile."""
        with self._lock:
            return tree in self._readers

    @contextmanager
    def _reading(self, tree: int) -> Iterator[Shelf | None]:
        """Yield where a tree's supplies come from; the source is not closed before this ends. None: the tree was removed."""
        with self._lock:
            self._readers[tree] += 1
        try:
            yield self._shelves.get(tree)
        finally:
            with self._lock:
                self._readers[tree] -= 1
                if not self._readers[tree]:
                    del self._readers[tree]

    def _collect(self, shelf: Shelf, of_tree: Sequence[Due], supplies: Supplies) -> None:
        """Look up and read what is due of one tree."""
        with shelf.catalog.renaming:
            records = shelf.catalog.get([due.key.path for due in of_tree])
        small: list[tuple[Due, Record]] = []
        for due in of_tree:
            record = records.get(due.key.path)
            if doubt := shelf.source.doubt(due.key.path):
                supplies.stuck.append(Stuck(due, f"on the backend: {doubt}"))
            elif record is not None and record.entry.kind == FILE and _is_readable(due, record):
                small.append((due, record))
            else:
                self._supply(shelf, due, record, supplies)
        self._supply_contents(shelf, small, supplies)

    def _supply(self, shelf: Shelf, due: Due, record: Record | None, supplies: Supplies) -> None:
        """Supply whatever needs no content read here."""
        tree, path = due.key
        if record is None:
            if shelf.delete() and not shelf.held(path):
                supplies.ready.append(Ready(due, gone(tree, path), b""))
            else:
                supplies.settled.append(due)
        elif record.entry.kind != FILE:
            supplies.ready.append(Ready(due, change_for(tree, path, record.entry), b""))
        elif record.problem:
            passing = record.problem in PASSING
            supplies.stuck.append(Stuck(due, f"on the backend: {record.problem}", passing))
        elif due.owed < Owed.CONTENT and not _takes_long_to_hash(due, record):
            change = adopt(tree, path, record.entry, content=due.owed is Owed.ADOPT)
            supplies.ready.append(Ready(due, change, b""))
        else:
            supplies.large.append(Large(due, record))

    def _supply_contents(
        self, shelf: Shelf, small: Sequence[tuple[Due, Record]], supplies: Supplies
    ) -> None:
        if any(isinstance(ready.change, Delete) for ready in supplies.ready):
            # A file may have to wait until what is in its place is gone: the order of all of them counts.
            for (due, record), content in self._read(shelf, small, supplies):
                change = change_for(due.key.tree, due.key.path, record.entry)
                supplies.ready.append(Ready(due, change, content))
            return
        for group in groups((due.key.path, rec.entry.size, (due, rec)) for due, rec in small):
            # The digest too: a stamp that is not firm yet may be that of two versions.
            key = tuple((due.key, record.stamp, record.entry.digest) for due, record in group)
            parcel = self._parcels.get(key, partial(self._make_parcel, shelf, group, supplies))
            if parcel is not None:
                supplies.groups.append(Group(parcel, tuple(due for due, _ in group)))

    def _make_parcel(
        self, shelf: Shelf, group: Sequence[tuple[Due, Record]], supplies: Supplies
    ) -> Parcel | None:
        """Return the frame of a group; None if some file is not what it was, and then the others go alone."""
        found = list(self._read(shelf, group, supplies))
        if len(found) < len(group):
            supplies.ready += [
                Ready(due, change_for(due.key.tree, due.key.path, record.entry), content)
                for (due, record), content in found
            ]
            return None
        changes = [
            (change_for(due.key.tree, due.key.path, record.entry), content)
            for (due, record), content in found
        ]
        (parcel,) = batches(changes)
        return parcel

    def _read(
        self, shelf: Shelf, small: Sequence[tuple[Due, Record]], supplies: Supplies
    ) -> Iterator[tuple[tuple[Due, Record], bytes]]:
        contents = shelf.source.read_whole([(due.key.path, record.stamp) for due, record in small])
        for one, content in zip(small, contents, strict=True):
            if content is None:
                shelf.look_again(one[0].key.path)
                reason = "on the backend: changed while it was read"
                supplies.stuck.append(Stuck(one[0], reason, passing=True))
            else:
                yield one, content

    def frame(self, large: Large, number: int, offset: int) -> bytes | None:
        """Return the frame of a large file's content at `offset`; None if that version is gone. Blocks.

        Args:
            large: the file.
            number: the change's; `number_of` gives all frontends the same, so that they share the frame.
            offset: bytes.
        """
        return self._frames.get((number, offset), partial(self._make_frame, large, number, offset))

    def number_of(self, large: Large) -> int:
        """Return the change number of a version of a large file: the same for all frontends."""
        key = (large.due.key, large.record.stamp, large.record.entry.digest)
        with self._lock:
            number = self._numbers.setdefault(key, 0) or next_number()
            self._numbers[key] = number
            if len(self._numbers) > 1024:
                self._numbers.popitem(last=False)
        return number

    def _make_frame(self, large: Large, number: int, offset: int) -> bytes | None:
        tree, path = large.due.key
        length = min(CHUNK, large.record.entry.size - offset)
        with self._reading(tree) as shelf:
            if shelf is None:
                return None
            piece = shelf.source.read(path, large.record.stamp, offset, length)
            if piece is None:
                shelf.look_again(path)
                return None
        return data_frame(number, [Literal(piece)])


def _weight(parcel: Parcel) -> int:
    return parcel.size + PART_BYTES * len(parcel.parts)


def _takes_long_to_hash(due: Due, record: Record) -> bool:
    return due.owed is Owed.ADOPT and record.entry.size > HASHED


def _is_readable(due: Due, record: Record) -> bool:
    """Return True for a file whose content is owed, and travels in a batch."""
    return not record.problem and due.owed is Owed.CONTENT and record.entry.size <= INLINE_LIMIT
