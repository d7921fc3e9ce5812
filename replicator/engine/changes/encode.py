"""Encode changes as frames of the wire, once for the whole fleet.

The same frames are queued for every frontend. Whole files and moves can be sent to each of them. A change that builds on the previous
version (a delta, attributes only, a link) is sent only to frontends that hold that version; for the others the path is marked dirty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from replicator.core.pending import Key
from replicator.delta import ops as delta_ops
from replicator.delta.ops import Literal, Op
from replicator.wire import compression, frames
from replicator.wire.changes import (
    Change,
    Delete,
    Link,
    MakeSymlink,
    Move,
    PutFile,
    SetAttributes,
)
from replicator.wire.messages import Batch, BeginFile, Data

INLINE_LIMIT = 256 << 10
"""Bytes of a file up to which it is sent in a batch; a larger one is sent in frames of its own, so that live changes can be sent between them."""

BATCH_PAYLOAD = 256 << 10
"""Bytes of content in a batch at most: they take a millisecond to encrypt, for which a live change may have to wait."""

BATCH_CHANGES = 200
"""Changes in a batch at most."""

BATCH_WORK = 16 << 20
"""Bytes that an agent must read or copy on its disk for a batch at most, beyond the first change: 0.1 s at 150 MB/s, during which it
answers nothing."""

ATTRIBUTES_WORK = 4096
"""Bytes counted for a change of attributes: the agent copies the file if it has several names there, which the backend does not know."""

BATCH_NAMES = 512 << 10
"""Bytes of names in a batch at most, as JSON at its longest, so that the header stays below the limit of 1 MiB."""

CHUNK = 512 << 10
"""Bytes of content in one frame of a large file."""

FRAME_OPS = 4096
"""Instructions of a delta in one frame at most."""


class ChangeRef(NamedTuple):
    """What the backend must know of one encoded change.

    Attributes:
        number: the change's number; 0 if there are no frames.
        key: the path.
        target: new name of a Move; empty for every other change.
        is_delete: True if the change deletes the path.
        source: for a Link, the path whose file gets another name or is copied; empty for every other change.
        work: bytes that the agent must read or copy on its disk.
    """

    number: int
    key: Key
    target: bytes = b""
    is_delete: bool = False
    source: bytes = b""
    work: int = 0

    @property
    def ends(self) -> tuple[Key, Key]:
        """The old and the new name of a Move."""
        return self.key, Key(self.key.tree, self.target)

    @property
    def base(self) -> Key:
        """The path whose present version on the frontend the change builds on."""
        return Key(self.key.tree, self.source) if self.source else self.key


@dataclass(frozen=True)
class EncodedChanges:
    """One or more changes as frames, which are sent without another frame between them.

    Attributes:
        frames: the frames; empty if each replica must read the content by itself, because it is too large or not urgent.
        parts: the changes in them.
        builds_on: True if the previous version must have been sent to the frontend.
        proven: True if the frontend must also have confirmed it, because the change itself cannot detect another version.
        saved: bytes that a delta saves for each frontend.
    """

    frames: tuple[bytes, ...]
    parts: tuple[ChangeRef, ...]
    builds_on: bool = False
    saved: int = 0
    proven: bool = False

    @property
    def size(self) -> int:
        """Bytes of all frames."""
        return sum(map(len, self.frames))

    @property
    def work(self) -> int:
        """Bytes that the agent must read or copy on its disk."""
        return sum(part.work for part in self.parts)


def ref_to(change: Change) -> ChangeRef:
    """Return the reference to a change."""
    target = change.target if isinstance(change, Move) else b""
    source = change.source if isinstance(change, Link) else b""
    key = Key(change.tree, change.path)
    return ChangeRef(
        change.number, key, target, isinstance(change, Delete), source, work_of(change)
    )


def work_of(change: Change) -> int:
    """Return how many bytes the agent must read or copy on its disk for a change in a batch."""
    if isinstance(change, SetAttributes):
        return change.size if change.digest else ATTRIBUTES_WORK
    return change.size if isinstance(change, Link) and change.copy else 0


def encode_batches(
    items: Iterable[tuple[Change, bytes]], *, compress: bool = False
) -> Iterator[EncodedChanges]:
    """Encode changes in their order; yield one frame after the other.

    Args:
        items: the changes with their contents; each content has at most INLINE_LIMIT bytes.
        compress: compress contents where that makes them smaller.
    """
    changes: list[Change] = []
    contents: list[bytes] = []
    size = names = work = 0
    for change, content in items:
        work += work_of(change)
        if changes and (work > BATCH_WORK or is_full(len(changes), size + len(content), names)):
            yield _encode_batch(changes, contents, compress=compress)
            changes, contents, size, names, work = [], [], 0, 0, work_of(change)
        changes.append(change)
        contents.append(content)
        size += len(content)
        names += room_for(change.path)
        if isinstance(change, (Move, MakeSymlink, Link)):
            names += room_for(_other_name(change))
    if changes:
        yield _encode_batch(changes, contents, compress=compress)


def encode_links(changes: Sequence[Link]) -> Iterator[EncodedChanges]:
    """Encode links, which build on the files that they are made from."""
    for encoded in encode_batches((change, b"") for change in changes):
        yield replace(encoded, builds_on=True)


def _other_name(change: Move | MakeSymlink | Link) -> bytes:
    if isinstance(change, Move):
        return change.target
    return change.link if isinstance(change, MakeSymlink) else change.source


def is_full(count: int, payload: int, names: int) -> bool:
    """Return True if a batch of `count` changes must end before the next one, with which it would have `payload` bytes of content."""
    return count >= BATCH_CHANGES or payload > BATCH_PAYLOAD or names > BATCH_NAMES


def room_for(name: bytes) -> int:
    """Return the bytes of JSON for a change with this name at most: each byte may take six, and the other fields take 200."""
    return 6 * len(name) + 200


def _encode_batch(
    changes: Sequence[Change], contents: Sequence[bytes], *, compress: bool = False
) -> EncodedChanges:
    encode = compression.encode if compress else frames.encode
    frame = encode(Batch(tuple(changes)).header(), contents)
    return EncodedChanges((frame,), tuple(map(ref_to, changes)))


def encode_update(change: Change) -> EncodedChanges:
    """Encode one change that has no content and builds on the previous version."""
    proven = isinstance(change, SetAttributes) and not change.digest
    return replace(_encode_batch([change], []), builds_on=True, proven=proven)


def encode_file(
    put: PutFile, ops: Sequence[Op], *, delta: bool, compress: bool = False
) -> EncodedChanges:
    """Encode one file as instructions of a delta, in as many frames as it needs."""
    encoded = [begin_frame(put, delta=delta)]
    encoded += [data_frame(put.number, group, compress=compress) for group in _groups(ops)]
    encoded.append(data_frame(put.number, [], end=True))
    saved = put.size - sum(map(len, encoded)) if delta else 0
    part = ref_to(put)._replace(work=put.size if delta else 0)
    return EncodedChanges(tuple(encoded), (part,), delta, saved)


def begin_frame(put: PutFile, *, delta: bool, base: str = "") -> bytes:
    """Return the frame that begins a file; see `wire.messages.BeginFile` for the arguments."""
    return frames.encode(BeginFile(put, delta, base).header())


def data_frame(
    number: int,
    ops: Sequence[Op],
    *,
    end: bool = False,
    cancel: bool = False,
    compress: bool = False,
) -> bytes:
    """Return one frame between the beginning and the end of a file, or its end."""
    encode = compression.encode if compress else frames.encode
    pairs, literals = delta_ops.encode(ops)
    return encode(Data(number, pairs, end, cancel).header(), literals)


def _groups(ops: Iterable[Op]) -> Iterator[list[Op]]:
    """Split instructions into groups that fit into a frame: at most CHUNK bytes of literals and FRAME_OPS pairs."""
    group: list[Op] = []
    size = 0
    for op in ops:
        for piece in _pieces(op):
            length = len(piece.data) if isinstance(piece, Literal) else 0
            if group and (size + length > CHUNK or len(group) >= FRAME_OPS):
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
