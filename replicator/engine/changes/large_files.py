"""Read large files for frontends, a frame at a time while they are sent: whole, or as a delta against what a frontend holds.

All replicas share a number for each version, its frames and its deltas: for frontends that are filled at the same time a frame is read and
encoded once; for one that is behind the others it is read again, from the page cache.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import NamedTuple

from replicator.core.pending import Key, PendingChange
from replicator.delta.ops import Copy, Literal, Op
from replicator.engine.changes.create import next_number
from replicator.engine.changes.difference import (
    MOST_PARTS,
    FoundDelta,
    Group,
    HeldVersion,
    Part,
    find_parts,
)
from replicator.engine.changes.encode import CHUNK, data_frame
from replicator.engine.changes.frame_cache import CACHE_BYTES, FrameCache
from replicator.engine.changes.tree_reads import TreeReads
from replicator.model import Stamp
from replicator.ports import Record


class StreamedFile(NamedTuple):
    """A large file, which is read while it is sent.

    Attributes:
        pending: its path.
        record: its record.
        found: what is to be sent of it; None: all of it.
    """

    pending: PendingChange
    record: Record
    found: FoundDelta | None = None

    @property
    def version(self) -> tuple[Key, Stamp, bytes]:
        """The path and what identifies its content; the digest as well, because two versions may have the same stamp until it is stable."""
        return self.pending.key, self.record.stamp, self.record.entry.digest

    def offsets(self) -> range:
        """Return the offsets of its frames, in bytes."""
        return range(0, self.record.entry.size, CHUNK)


class LargeFiles:
    """Reads and encodes large files for all replicas. Its methods may be called from any thread.

    Args:
        reads: the trees.

    Attributes:
        multiplier: of the weak sums of frontends. It is the same for all, so that a delta is made once for those that hold the same version.
    """

    def __init__(self, reads: TreeReads) -> None:
        self.multiplier = secrets.randbits(32) | 1
        self._reads = reads
        self._lock = threading.Lock()
        self._frames: FrameCache[bytes] = FrameCache(CACHE_BYTES, len)
        self._deltas: FrameCache[list[Part]] = FrameCache(MOST_PARTS, lambda parts: 64 + len(parts))
        self._numbers: OrderedDict[tuple[object, ...], int] = OrderedDict()

    def frame(self, large: StreamedFile, number: int, offset: int) -> bytes | None:
        """Return the frame with a large file's content at `offset`; None if the file is not that version any more. Blocks.

        Args:
            large: the file.
            number: the number of the change, from `number_of`.
            offset: bytes.
        """
        return self._frames.get((number, offset), partial(self._make_frame, large, number, offset))

    def number_of(self, large: StreamedFile) -> int:
        """Return the change number of a version of a large file. It is the same for all frontends, so that they share its frames."""
        with self._lock:
            number = self._numbers.setdefault(large.version, 0) or next_number()
            self._numbers[large.version] = number
            if len(self._numbers) > 1024:
                self._numbers.popitem(last=False)
        return number

    def find_delta(
        self, large: StreamedFile, held: HeldVersion, is_wanted: Callable[[], bool]
    ) -> FoundDelta | None:
        """Return how a large file differs from what a frontend holds; None if it is to be sent whole. Blocks.

        Args:
            large: the file.
            held: what the frontend holds.
            is_wanted: called for each MiB; if it returns False, the search ends.
        """
        sums = sha256(held.signature.weak + held.signature.strong).digest()
        read = partial(self._read_piece, large)
        size = large.record.entry.size
        parts = self._deltas.get(
            (*large.version, held.signature.size, sums),
            lambda: find_parts(held.signature, size, read, is_wanted),
        )
        return FoundDelta(parts, held.version) if parts else None

    def delta_frame(self, large: StreamedFile, number: int, group: Group) -> bytes | None:
        """Return the frame with a part of a delta; None if the file is not that version any more. Blocks."""
        ops: list[Op] = []
        for part in group.parts:
            if isinstance(part, Copy):
                ops.append(part)
                continue
            piece = self._read_piece(large, *part)
            if piece is None:
                return None
            ops.append(Literal(piece))
        return data_frame(number, ops, compress=self._compresses(large))

    def _make_frame(self, large: StreamedFile, number: int, offset: int) -> bytes | None:
        length = min(CHUNK, large.record.entry.size - offset)
        piece = self._read_piece(large, offset, length)
        if piece is None:
            return None
        return data_frame(number, [Literal(piece)], compress=self._compresses(large))

    def _compresses(self, large: StreamedFile) -> bool:
        tree = self._reads.trees.get(large.pending.key.tree)
        return tree is not None and tree.compress

    def _read_piece(self, large: StreamedFile, offset: int, length: int) -> bytes | None:
        """Return bytes of a large file; None if it is not that version any more, and is checked again."""
        key = large.pending.key
        with self._reads.reading(key.tree) as tree:
            if tree is None:
                return None
            piece = tree.source.read(key.path, large.record.stamp, offset, length)
            if piece is None:
                tree.state.recheck(key.path)
            return piece
