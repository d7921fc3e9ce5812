"""Apply a delta to its base.

The instructions come from the peer, and the base may have changed meanwhile. So each range and the total size are checked here, and
the caller must verify the digest of the result.

This file is streamed to the frontends: standard library only, Python 3.9.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Callable, Union

from replicator.delta.ops import Copy, Op
from replicator.errors import DeltaError

Piece = Union[bytes, memoryview]

MAX_PIECE = 1 << 20
"""Bytes read from the base at once, because one copy may span a whole file."""


def replay(
    ops: Iterable[Op], read: Callable[[int, int], Piece], *, base_size: int, max_size: int
) -> Iterator[Piece]:
    """Yield the content that the instructions produce, in pieces of at most MAX_PIECE bytes or one literal.

    A piece that was copied is the buffer that `read` returned, and valid for as long.

    Args:
        ops: the instructions.
        read: `read(offset, length)` returns bytes of the base; fewer than asked for, or none, at its end.
        base_size: bytes in the base.
        max_size: largest output in bytes.

    Raises:
        DeltaError: a copy reaches outside the base, the output exceeds `max_size`, or the base ends early; the caller must discard what
            was yielded before.
    """
    room = max_size
    for op in ops:
        room -= op.length if isinstance(op, Copy) else len(op.data)
        if room < 0:
            raise DeltaError(f"the delta yields more than {max_size} bytes")
        if isinstance(op, Copy):
            yield from _copied(op, read, base_size)
        else:
            yield op.data


def _copied(op: Copy, read: Callable[[int, int], Piece], base_size: int) -> Iterator[Piece]:
    at, end = op.offset, op.offset + op.length
    if not 0 <= at < end <= base_size:
        raise DeltaError(f"the delta copies bytes {at} to {end} of a base of {base_size} bytes")
    while at < end:
        wanted = min(MAX_PIECE, end - at)
        piece = read(at, wanted)
        if not 0 < len(piece) <= wanted:
            raise DeltaError(f"the base ended early, at byte {at} of {base_size}")
        at += len(piece)
        yield piece
