"""What a frontend is owed, read from the catalog and the source at the moment of sending.

`collect` runs in a worker thread. Small files are read whole; a large one becomes a Stream, whose frames are read one at a
time and kept in a cache that all replicas share: frontends that are filled at the same time get the same bytes, read and
framed once, and a frontend that lags behind reads them again from the page cache.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from replicator.core.dirty import Due, Owed
from replicator.delta.ops import Literal
from replicator.engine.parcel import (
    CHUNK,
    INLINE_LIMIT,
    adopt,
    change_for,
    data_frame,
    gone,
    next_number,
)
from replicator.model import FILE
from replicator.ports import Catalog, Record, Source
from replicator.wire.changes import Change

CACHE_BYTES = 32 << 20
"""Frames of large files that are kept for other replicas: room for a few that go at about the same pace."""


class Ready(NamedTuple):
    """A path's change with its content, ready to be framed."""

    due: Due
    change: Change
    content: bytes


class Large(NamedTuple):
    """A path whose content must be streamed."""

    due: Due
    record: Record

    def offsets(self) -> range:
        """Return the offsets of its chunks, in bytes."""
        return range(0, self.record.entry.size, CHUNK)


class Stuck(NamedTuple):
    """A path that cannot be sent now, and why."""

    due: Due
    reason: str


@dataclass
class Supplies:
    """What `collect` found.

    Attributes:
        ready: small changes.
        large: files to stream.
        stuck: cannot be read now.
        settled: nothing needs to be sent (the path is gone, and deletions are not replicated).
    """

    ready: list[Ready] = field(default_factory=list)
    large: list[Large] = field(default_factory=list)
    stuck: list[Stuck] = field(default_factory=list)
    settled: list[Due] = field(default_factory=list)


class Shelf(NamedTuple):
    """Where one tree's supplies come from."""

    source: Source
    catalog: Catalog
    delete: bool
    look_again: Callable[[bytes], None]
    """Told when a file is not what the catalog says."""


class Supply:
    """Reads for all replicas.

    Args:
        shelves: the trees, by number; may gain and lose entries while in use.
    """

    def __init__(self, shelves: Mapping[int, Shelf]) -> None:
        self._shelves = shelves
        self._lock = threading.Lock()
        self._cache: OrderedDict[tuple[object, ...], bytes] = OrderedDict()
        self._cached = 0
        self._numbers: OrderedDict[tuple[object, ...], int] = OrderedDict()

    def collect(self, dues: Sequence[Due]) -> Supplies:
        """Look up and read what is due; blocks."""
        supplies = Supplies()
        for tree in {due.key.tree for due in dues}:
            shelf = self._shelves.get(tree)
            of_tree = [due for due in dues if due.key.tree == tree]
            if shelf is None:
                supplies.settled.extend(of_tree)
                continue
            records = shelf.catalog.get([due.key.path for due in of_tree])
            small: list[tuple[Due, Record]] = []
            for due in of_tree:
                record = records.get(due.key.path)
                if record is not None and record.entry.kind == FILE and _is_readable(due, record):
                    small.append((due, record))
                else:
                    self._supply(shelf, due, record, supplies)
            self._supply_contents(shelf, small, supplies)
        return supplies

    def _supply(self, shelf: Shelf, due: Due, record: Record | None, supplies: Supplies) -> None:
        """Supply whatever needs no content read here."""
        tree, path = due.key
        if record is None:
            if shelf.delete:
                supplies.ready.append(Ready(due, gone(tree, path), b""))
            else:
                supplies.settled.append(due)
        elif record.entry.kind != FILE:
            supplies.ready.append(Ready(due, change_for(tree, path, record.entry), b""))
        elif record.problem:
            supplies.stuck.append(Stuck(due, f"on the backend: {record.problem}"))
        elif due.owed < Owed.CONTENT:
            change = adopt(tree, path, record.entry, content=due.owed is Owed.ADOPT)
            supplies.ready.append(Ready(due, change, b""))
        else:
            supplies.large.append(Large(due, record))

    def _supply_contents(
        self, shelf: Shelf, small: Sequence[tuple[Due, Record]], supplies: Supplies
    ) -> None:
        contents = shelf.source.read_whole([(due.key.path, record.stamp) for due, record in small])
        for (due, record), content in zip(small, contents, strict=True):
            if content is None:
                shelf.look_again(due.key.path)
                supplies.stuck.append(Stuck(due, "on the backend: changed while it was read"))
            else:
                change = change_for(due.key.tree, due.key.path, record.entry)
                supplies.ready.append(Ready(due, change, content))

    def frame(self, large: Large, number: int, offset: int) -> bytes | None:
        """Return the frame of a large file's content at `offset`; None if that version is gone. Blocks.

        Args:
            large: the file.
            number: the change's; `number_of` gives all frontends the same, so that they share the frame.
            offset: bytes.
        """
        key = (number, offset)
        with self._lock:
            cached = self._cache.get(key)
            if cached is not None:
                self._cache.move_to_end(key)
                return cached
        framed = self._make_frame(large, number, offset)
        if framed is not None:
            self._keep(key, framed)
        return framed

    def number_of(self, large: Large) -> int:
        """Return the change number of a version of a large file: the same for all frontends."""
        key = (large.due.key, large.record.stamp)
        with self._lock:
            number = self._numbers.setdefault(key, 0) or next_number()
            self._numbers[key] = number
            if len(self._numbers) > 1024:
                self._numbers.popitem(last=False)
        return number

    def _make_frame(self, large: Large, number: int, offset: int) -> bytes | None:
        tree, path = large.due.key
        length = min(CHUNK, large.record.entry.size - offset)
        shelf = self._shelves.get(tree)
        if shelf is None:
            return None
        piece = shelf.source.read(path, large.record.stamp, offset, length)
        if piece is None:
            shelf.look_again(path)
            return None
        return data_frame(number, [Literal(piece)])

    def _keep(self, key: tuple[object, ...], framed: bytes) -> None:
        with self._lock:
            if key not in self._cache:
                self._cache[key] = framed
                self._cached += len(framed)
            while self._cached > CACHE_BYTES:
                self._cached -= len(self._cache.popitem(last=False)[1])


def _is_readable(due: Due, record: Record) -> bool:
    """Return True for a file whose content is owed, and travels in a batch."""
    return not record.problem and due.owed is Owed.CONTENT and record.entry.size <= INLINE_LIMIT
