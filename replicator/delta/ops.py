"""The instructions of a delta: copy a range of the base, or insert literal bytes.

A delta is a sequence of instructions. A frame carries them as a list of `[offset, length]` pairs, with the literals in its payload:
`[8192, 4096]` copies 4,096 bytes of the base from offset 8,192, and `[-1, 100]` takes the next 100 bytes of the payload. The pairs
come from the peer, so `decode` checks all of them before it returns the first.

This file is streamed to the frontends: standard library only, Python 3.9.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Union

from replicator.errors import DeltaError

MAX_LITERAL = 1 << 20
"""Largest literal that is produced, in bytes: it fits into a frame's payload (1 MiB), and no file is held in memory whole."""

MAX_OPS = 16_384
"""Instructions in one frame: with two 16-digit numbers each, they take 0.6 MiB of JSON; a header may have 1 MiB."""

MAX_EXTENT = 1 << 50
"""Largest offset and length: 1 PiB, beyond the files of ext4 (16 TiB), and exact in every JSON reader (2**53)."""

LITERAL_OFFSET = -1
"""The offset of a pair that takes its bytes from the payload."""


class Copy(NamedTuple):
    """Copy `length` bytes of the base, from `offset`."""

    offset: int
    length: int


class Literal(NamedTuple):
    """Insert these bytes."""

    data: bytes


Op = Union[Copy, Literal]


class Merger:
    """Joins adjacent instructions as they are added: copies of adjacent ranges, and literals up to MAX_LITERAL.

    The last instruction stays open until one is added that does not continue it. So the result does not depend on how the input was
    split. Empty instructions are dropped.
    """

    def __init__(self) -> None:
        self._done: list[Op] = []
        self._copy = Copy(0, 0)
        self._pieces: list[bytes] = []
        self._size = 0

    def copy(self, offset: int, length: int) -> None:
        """Add a copy."""
        if not length:
            return
        self._close_literal()
        if self._copy.offset + self._copy.length == offset:
            self._copy = Copy(self._copy.offset, self._copy.length + length)
        else:
            self._close_copy()
            self._copy = Copy(offset, length)

    def literal(self, data: bytes | memoryview) -> None:
        """Add literal bytes; they are copied, so the caller may reuse the buffer."""
        if len(data):
            self._close_copy()
        for start in range(0, len(data), MAX_LITERAL):
            piece = bytes(data[start : start + MAX_LITERAL])
            if self._size + len(piece) > MAX_LITERAL:
                self._close_literal()
            self._pieces.append(piece)
            self._size += len(piece)

    def take(self) -> list[Op]:
        """Return the complete instructions since the last call, without the open one."""
        done, self._done = self._done, []
        return done

    def finish(self) -> list[Op]:
        """Return all remaining instructions."""
        self._close_copy()
        self._close_literal()
        return self.take()

    def _close_copy(self) -> None:
        if self._copy.length:
            self._done.append(self._copy)
            self._copy = Copy(0, 0)

    def _close_literal(self) -> None:
        if self._pieces:
            self._done.append(Literal(b"".join(self._pieces)))
            self._pieces, self._size = [], 0


def merge(ops: Iterable[Op]) -> list[Op]:
    """Return instructions with the same result, with adjacent ones joined."""
    merger = Merger()
    for op in ops:
        if isinstance(op, Copy):
            merger.copy(op.offset, op.length)
        else:
            merger.literal(op.data)
    return merger.finish()


def literal_bytes(ops: Iterable[Op]) -> int:
    """Return the total bytes of the literals; the rest of the content comes from the base."""
    return sum(len(op.data) for op in ops if isinstance(op, Literal))


def encode(ops: Iterable[Op]) -> tuple[list[list[int]], list[bytes]]:
    """Return the pairs, and the literals that make up the payload, in order."""
    pairs: list[list[int]] = []
    literals: list[bytes] = []
    for op in ops:
        if isinstance(op, Copy):
            pairs.append([op.offset, op.length])
        else:
            pairs.append([LITERAL_OFFSET, len(op.data)])
            literals.append(op.data)
    return pairs, literals


def decode(pairs: object, payload: bytes | memoryview) -> Iterator[Op]:
    """Check the instructions of a frame, and return an iterator over them.

    Args:
        pairs: any JSON value; it must be a list of at most MAX_OPS valid pairs.
        payload: the frame's payload; the literals must have exactly its length in total.

    Raises:
        DeltaError: an instruction is invalid; raised before any is returned.
    """
    if not isinstance(pairs, list) or len(pairs) > MAX_OPS:
        raise DeltaError(f"instructions must be a list of at most {MAX_OPS} pairs")
    for pair in pairs:
        _check(pair)
    promised = sum(length for offset, length in pairs if offset == LITERAL_OFFSET)
    if promised != len(payload):
        raise DeltaError(f"the literals have {promised} bytes, but the payload has {len(payload)}")
    return _decoded(pairs, payload)


def _check(pair: object) -> None:
    # `type(...) is int`: JSON's true would pass for 1.
    if (
        not isinstance(pair, list)
        or len(pair) != 2
        or any(type(number) is not int for number in pair)
    ):
        raise DeltaError("an instruction must be a pair of integers")
    offset, length = pair
    if not LITERAL_OFFSET <= offset <= MAX_EXTENT or not 0 < length <= MAX_EXTENT:
        raise DeltaError("an instruction has an offset or a length out of range")


def _decoded(pairs: list[list[int]], payload: bytes | memoryview) -> Iterator[Op]:
    start = 0
    for offset, length in pairs:
        if offset == LITERAL_OFFSET:
            yield Literal(bytes(payload[start : start + length]))
            start += length
        else:
            yield Copy(offset, length)
