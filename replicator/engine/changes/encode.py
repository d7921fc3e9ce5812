"""Changes as frames, encoded once for the whole fleet.

A parcel is the unit that a replica sends, and that is shared: the same bytes are queued to every frontend. A parcel of
whole files can be sent to anybody; one that builds on the previous version (a delta, attributes only, a move) goes only to
frontends that hold that version, and everybody else is owed the path instead.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from replicator.core.pending import Key
from replicator.delta import ops as delta_ops
from replicator.delta.ops import Literal, Op
from replicator.model import DIRECTORY, SYMLINK, Entry
from replicator.wire import frames
from replicator.wire.changes import (
    Change,
    Delete,
    Link,
    MakeDirectory,
    MakeSymlink,
    Move,
    PutFile,
    SetAttributes,
)
from replicator.wire.messages import Batch, BeginFile, Data

INLINE_LIMIT = 256 << 10
"""Bytes: a larger file travels as frames of its own, so that a batch never holds up a live change for long."""

BATCH_PAYLOAD = 256 << 10
"""Bytes of content after which a batch is closed: it takes a millisecond to encrypt, which a live change may have to wait."""

BATCH_CHANGES = 200

BATCH_WORK = 16 << 20
"""Bytes that an agent reads or copies by itself for a batch after which it is closed: 0.1 s on a disk of 150 MB/s, in which it does
nothing else and answers nothing."""

ATTRIBUTES_WORK = 4096
"""Bytes that changing a file's attributes counts for: the agent copies the file if it has another name there, which only it knows."""

BATCH_NAMES = 512 << 10
"""Bytes that the names in a batch may take at worst, so that long ones make more batches and not one that no peer accepts."""

CHUNK = 512 << 10
"""Bytes of content in one frame of a large file."""

_numbers = itertools.count(1)


class ChangeRef(NamedTuple):
    """One change of a parcel.

    Attributes:
        number: the change's number; 0 in a parcel without frames.
        key: the path.
        target: where a Move goes; empty for every other change.
        is_delete: the change removes the path.
        twin: whose file the path becomes another name of; empty for every other change.
        work: bytes that the agent reads or copies by itself for it.
    """

    number: int
    key: Key
    target: bytes = b""
    is_delete: bool = False
    twin: bytes = b""
    work: int = 0

    @property
    def base(self) -> Key:
        """The path whose version the change builds on."""
        return Key(self.key.tree, self.twin) if self.twin else self.key


@dataclass(frozen=True)
class EncodedChanges:
    """Frames to be sent in one go.

    Attributes:
        frames: encoded; empty when the content is too large to be kept, and each frontend streams it by itself.
        parts: the changes in them.
        builds_on: True if the frontend must hold the previous version, or have it under way.
        proven: True if the frontend must have confirmed it: nothing in the change would tell another one apart.
        saved: bytes that a delta spares each frontend.
    """

    frames: tuple[bytes, ...]
    parts: tuple[ChangeRef, ...]
    builds_on: bool = False
    saved: int = 0
    proven: bool = False

    @property
    def size(self) -> int:
        """Bytes on the wire."""
        return sum(map(len, self.frames))

    @property
    def work(self) -> int:
        """Bytes that the agent reads or copies by itself."""
        return sum(part.work for part in self.parts)


def next_number() -> int:
    """Return a change number that nobody else in this process has."""
    return next(_numbers)


def put_file(number: int, tree: int, path: bytes, entry: Entry) -> PutFile:
    """Return the change that makes a path a file."""
    return PutFile(number, tree, path, entry.mode, entry.size, entry.mtime_ns, entry.digest)


def change_for(tree: int, path: bytes, entry: Entry) -> PutFile | MakeDirectory | MakeSymlink:
    """Return the change that brings a path to an entry, whatever is there now."""
    number = next_number()
    if entry.kind == DIRECTORY:
        return MakeDirectory(number, tree, path, entry.mode, entry.mtime_ns)
    if entry.kind == SYMLINK:
        return MakeSymlink(number, tree, path, entry.mtime_ns, entry.link)
    return put_file(number, tree, path, entry)


def adopt(tree: int, path: bytes, entry: Entry, *, content: bool) -> SetAttributes:
    """Return the change that keeps a frontend's file and sets its attributes.

    Args:
        tree: the tree.
        path: the file.
        entry: what it shall be.
        content: True to compare digests first; False if size and time are known to be right already.
    """
    digest = entry.digest if content else b""
    return SetAttributes(
        next_number(), tree, path, entry.mode, entry.size, entry.mtime_ns, entry.mtime_ns, digest
    )


def link_to(tree: int, path: bytes, entry: Entry, twin: bytes, *, copy: bool) -> Link:
    """Return the change that makes a path another name, or a copy, of a file there."""
    return Link(next_number(), tree, path, entry.mode, entry.size, entry.mtime_ns, twin, copy)


def part_of(change: Change) -> ChangeRef:
    """Return the part that a change makes in a parcel."""
    target = change.target if isinstance(change, Move) else b""
    twin = change.source if isinstance(change, Link) else b""
    key = Key(change.tree, change.path)
    return ChangeRef(change.number, key, target, isinstance(change, Delete), twin, work_of(change))


def work_of(change: Change) -> int:
    """Return how many bytes an agent reads or copies by itself for a change that travels in a batch."""
    if isinstance(change, SetAttributes):
        return change.size if change.digest else ATTRIBUTES_WORK
    return change.size if isinstance(change, Link) and change.copy else 0


def batches(items: Iterable[tuple[Change, bytes]]) -> Iterator[EncodedChanges]:
    """Yield parcels of one frame each with the changes in their order; every content is at most INLINE_LIMIT.

    What an agent does by itself for one of them, beyond its first change, is at most BATCH_WORK.
    """
    changes: list[Change] = []
    contents: list[bytes] = []
    size = names = work = 0
    for change, content in items:
        work += work_of(change)
        if changes and (work > BATCH_WORK or is_full(len(changes), size + len(content), names)):
            yield _batch(changes, contents)
            changes, contents, size, names, work = [], [], 0, 0, work_of(change)
        changes.append(change)
        contents.append(content)
        size += len(content)
        names += room_for(change.path)
        if isinstance(change, (Move, MakeSymlink, Link)):
            names += room_for(_other_name(change))
    if changes:
        yield _batch(changes, contents)


def links(changes: Sequence[Link]) -> Iterator[EncodedChanges]:
    """Yield parcels of links, which build on what they are linked to."""
    for encoded in batches((change, b"") for change in changes):
        yield replace(encoded, builds_on=True)


def _other_name(change: Move | MakeSymlink | Link) -> bytes:
    if isinstance(change, Move):
        return change.target
    return change.link if isinstance(change, MakeSymlink) else change.source


def is_full(count: int, payload: int, names: int) -> bool:
    """Return True if a batch of `count` changes takes no more, its payload being `payload` bytes with the next."""
    return count >= BATCH_CHANGES or payload > BATCH_PAYLOAD or names > BATCH_NAMES


def room_for(name: bytes) -> int:
    """Return how long a name may get in JSON, where a byte may take six, with what stands beside it."""
    return 6 * len(name) + 200


def _batch(changes: Sequence[Change], contents: Sequence[bytes]) -> EncodedChanges:
    frame = frames.encode(Batch(tuple(changes)).header(), contents)
    return EncodedChanges((frame,), tuple(map(part_of, changes)))


def single(change: Change) -> EncodedChanges:
    """Return a parcel of one change without content, which builds on the previous version."""
    proven = isinstance(change, SetAttributes) and not change.digest
    return replace(_batch([change], []), builds_on=True, proven=proven)


def file_parcel(put: PutFile, ops: Sequence[Op], *, delta: bool) -> EncodedChanges:
    """Return a parcel that carries one file as instructions, in as many frames as it takes."""
    encoded = [begin_frame(put, delta=delta)]
    encoded += [data_frame(put.number, group) for group in _groups(ops)]
    encoded.append(data_frame(put.number, [], end=True))
    saved = put.size - sum(map(len, encoded)) if delta else 0
    part = part_of(put)._replace(work=put.size if delta else 0)
    return EncodedChanges(tuple(encoded), (part,), delta, saved)


def begin_frame(put: PutFile, *, delta: bool) -> bytes:
    """Return the frame that begins a file."""
    return frames.encode(BeginFile(put, delta).header())


def data_frame(number: int, ops: Sequence[Op], *, end: bool = False, cancel: bool = False) -> bytes:
    """Return one frame of a begun file."""
    pairs, literals = delta_ops.encode(ops)
    return frames.encode(Data(number, pairs, end, cancel).header(), literals)


def _groups(ops: Iterable[Op]) -> Iterator[list[Op]]:
    """Cut instructions into groups that fit a frame: CHUNK bytes of literals, a few thousand pairs."""
    group: list[Op] = []
    size = 0
    for op in ops:
        for piece in _pieces(op):
            length = len(piece.data) if isinstance(piece, Literal) else 0
            if group and (size + length > CHUNK or len(group) >= 4096):
                yield group
                group, size = [], 0
            group.append(piece)
            size += length
    if group:
        yield group


def _pieces(op: Op) -> Iterator[Op]:
    if isinstance(op, Literal) and len(op.data) > CHUNK:
        for start in range(0, len(op.data), CHUNK):
            yield Literal(op.data[start : start + CHUNK])
    else:
        yield op


def gone(tree: int, path: bytes) -> Delete:
    """Return the change that removes a path."""
    return Delete(next_number(), tree, path)


def moved(tree: int, source: bytes, target: bytes) -> Move:
    """Return the change that renames a path."""
    return Move(next_number(), tree, source, target)
