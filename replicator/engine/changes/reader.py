"""Read the current state of dirty paths from the catalog and the source, just before they are sent.

`ContentReader.collect` runs in a worker thread. It reads small files whole, as many at a time as fit into a frame, and leaves large
ones to `LargeFiles`. The frames are kept in a cache that all replicas share: for frontends that are filled at the same time each file
is read and encoded once; for one that is behind the others it is read again, from the page cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from replicator.core.pending import PendingChange, PendingKind
from replicator.engine.changes.batching import groups
from replicator.engine.changes.create import attributes_change, change_for, delete_change
from replicator.engine.changes.encode import INLINE_LIMIT, EncodedChanges, encode_batches
from replicator.engine.changes.frame_cache import CACHE_BYTES, FrameCache
from replicator.engine.changes.large_files import StreamedFile
from replicator.engine.changes.tree_reads import TreeReads
from replicator.engine.tree import Tree
from replicator.model import FILE
from replicator.ports import PASSING, Record
from replicator.wire.changes import Change, Delete

ON_BACKEND = "on the backend"
"""Beginning of the reason of a path that the backend cannot read."""

OVERHEAD = 1500
"""Bytes of memory that a file in a kept frame takes beside its content: three copies of its name and about ten small objects."""


class ReadyChange(NamedTuple):
    """A change with its content, ready to be encoded."""

    pending: PendingChange
    change: Change
    content: bytes


class EncodedGroup(NamedTuple):
    """Small files in one frame, which is the same for every frontend that lacks them."""

    encoded: EncodedChanges
    pending: tuple[PendingChange, ...]


class Unreadable(NamedTuple):
    """A path that cannot be read now, and the reason; `passing` if the reason ends by itself."""

    pending: PendingChange
    reason: str
    passing: bool = False


@dataclass
class ReadResult:
    """Result of `ContentReader.collect`.

    Attributes:
        ready: single changes.
        groups: small files.
        large: files to stream.
        unreadable: paths that cannot be read now.
        unneeded: paths for which nothing must be sent: the path is gone, and deletions are not replicated or are held back.
        compress: True if all trees that were read are to be compressed.
    """

    ready: list[ReadyChange] = field(default_factory=list)
    groups: list[EncodedGroup] = field(default_factory=list)
    large: list[StreamedFile] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    unneeded: list[PendingChange] = field(default_factory=list)
    compress: bool = True


MOST_HASHED = 4 << 30
"""Bytes of a file up to which a frontend is asked to compare digests; a larger one is sent. At 150 MB/s hashing takes the agent 29 s, in
which it does nothing else. An agent of the release before sends no keepalives meanwhile, and `ssh.op_timeout` is 60 s."""


class ContentReader:
    """Reads catalogs and small files for all replicas. Its methods may be called from any thread.

    Args:
        reads: the trees.
    """

    def __init__(self, reads: TreeReads) -> None:
        self._reads = reads
        self._groups: FrameCache[EncodedChanges] = FrameCache(CACHE_BYTES, _weight)

    def collect(self, pending: Sequence[PendingChange]) -> ReadResult:
        """Read the current state of dirty paths. Blocks."""
        result = ReadResult()
        for number in {one.key.tree for one in pending}:
            of_tree = [one for one in pending if one.key.tree == number]
            with self._reads.reading(number) as tree:
                if tree is None:
                    result.unneeded.extend(of_tree)
                else:
                    result.compress &= tree.compress
                    self._collect(tree, of_tree, result)
        return result

    def _collect(self, tree: Tree, of_tree: Sequence[PendingChange], result: ReadResult) -> None:
        """Read the current state of dirty paths of one tree."""
        with tree.catalog.renaming:
            records = tree.catalog.get([one.key.path for one in of_tree])
        small: list[tuple[PendingChange, Record]] = []
        for one in of_tree:
            record = records.get(one.key.path)
            if doubt := tree.source.doubt(one.key.path):
                result.unreadable.append(Unreadable(one, f"{ON_BACKEND}: {doubt}"))
            elif record is not None and record.entry.kind == FILE and _is_small(one, record):
                small.append((one, record))
            else:
                self._add(tree, one, record, result)
        self._read_small(tree, small, result)

    def _add(
        self, tree: Tree, pending: PendingChange, record: Record | None, result: ReadResult
    ) -> None:
        """Add a path for which no content is read here."""
        number, path = pending.key
        if record is None:
            # In this order: a path is held until a pause has begun.
            if not tree.state.is_deletion_held(path) and tree.state.deletions_allowed:
                result.ready.append(ReadyChange(pending, delete_change(number, path), b""))
            else:
                result.unneeded.append(pending)
        elif record.entry.kind != FILE:
            result.ready.append(ReadyChange(pending, change_for(number, path, record.entry), b""))
        elif record.problem:
            passing = record.problem in PASSING
            result.unreadable.append(
                Unreadable(pending, f"{ON_BACKEND}: {record.problem}", passing)
            )
        elif pending.kind < PendingKind.DELTA and not _takes_long_to_hash(pending, record):
            change = attributes_change(
                number, path, record.entry, content=pending.kind is PendingKind.ADOPT
            )
            result.ready.append(ReadyChange(pending, change, b""))
        else:
            result.large.append(StreamedFile(pending, record))

    def _read_small(
        self, tree: Tree, small: Sequence[tuple[PendingChange, Record]], result: ReadResult
    ) -> None:
        """Read and encode small files, in groups that each fit into one frame."""
        if any(isinstance(ready.change, Delete) for ready in result.ready):
            # A file may have to wait until the path in its place is deleted: all of them are put in order together.
            result.ready += self._read(tree, small, result)
            return
        for group in groups(
            (one.key.path, record.entry.size, (one, record)) for one, record in small
        ):
            # The digest as well, because two versions may have the same stamp until it is stable.
            key = tuple((one.key, record.stamp, record.entry.digest) for one, record in group)
            encoded = self._groups.get(key, partial(self._encode_group, tree, group, result))
            if encoded is not None:
                result.groups.append(EncodedGroup(encoded, tuple(one for one, _ in group)))

    def _encode_group(
        self, tree: Tree, group: Sequence[tuple[PendingChange, Record]], result: ReadResult
    ) -> EncodedChanges | None:
        """Return the frame of a group. If a file in it has changed, add the other files as single changes, and return None."""
        found = list(self._read(tree, group, result))
        if len(found) < len(group):
            result.ready += found
            return None
        items = ((item.change, item.content) for item in found)
        (encoded,) = encode_batches(items, compress=tree.compress)
        return encoded

    def _read(
        self, tree: Tree, small: Sequence[tuple[PendingChange, Record]], result: ReadResult
    ) -> Iterator[ReadyChange]:
        """Yield small files with their content; a file that is not the recorded version is checked again, and is unreadable."""
        contents = tree.source.read_whole([(one.key.path, record.stamp) for one, record in small])
        for (pending, record), content in zip(small, contents, strict=True):
            if content is None:
                tree.state.recheck(pending.key.path)
                reason = f"{ON_BACKEND}: changed while it was read"
                result.unreadable.append(Unreadable(pending, reason, passing=True))
            else:
                yield ReadyChange(pending, change_for(*pending.key, record.entry), content)


def _weight(encoded: EncodedChanges) -> int:
    return encoded.size + OVERHEAD * len(encoded.parts)


def _takes_long_to_hash(pending: PendingChange, record: Record) -> bool:
    return pending.kind is PendingKind.ADOPT and record.entry.size > MOST_HASHED


def _is_small(pending: PendingChange, record: Record) -> bool:
    """Return True for a file whose content must be sent, and fits into a batch."""
    return (
        not record.problem
        and pending.kind >= PendingKind.DELTA
        and record.entry.size <= INLINE_LIMIT
    )
