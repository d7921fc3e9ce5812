"""Replay a delta against its base.

The instructions come from a peer and the base may have changed under us, so every range and the total are checked here;
whether the result is the right one, only its digest can tell.

This file is streamed to the frontends: standard library only, Python 3.9.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Callable, Union

from replicator.delta.ops import Copy, Op
from replicator.errors import DeltaError

Piece = Union[bytes, memoryview]

MAX_PIECE = 1 << 20
"""Bytes read from the base at once: a copy may span the file, memory may not."""


def replay(
    ops: Iterable[Op], read: Callable[[int, int], Piece], *, base_size: int, max_size: int
) -> Iterator[Piece]:
    """Yield the content that the instructions describe, in pieces of at most MAX_PIECE or one literal.

    Each is good for as long as what `read` has returned.

    Args:
        ops: the instructions.
        read: `read(offset, length)` returns bytes of the base; fewer than asked for, or none, at its end.
        base_size: bytes in the base.
        max_size: bytes that may come out at most.

    Raises:
        DeltaError: a copy from outside the base, more output than allowed, or a base that ends early; what was yielded
            before is to be discarded.
    """
    room = max_size
    for op in ops:
        room -= op.length if isinstance(op, Copy) else len(op.data)
        if room < 0:
            raise DeltaError(f"more than the {max_size} bytes that were announced")
        if isinstance(op, Copy):
            yield from _copied(op, read, base_size)
        else:
            yield op.data


def _copied(op: Copy, read: Callable[[int, int], Piece], base_size: int) -> Iterator[Piece]:
    at, end = op.offset, op.offset + op.length
    if not 0 <= at < end <= base_size:
        raise DeltaError(f"a copy of bytes {at} to {end} from a base of {base_size}")
    while at < end:
        wanted = min(MAX_PIECE, end - at)
        piece = read(at, wanted)
        if not 0 < len(piece) <= wanted:
            raise DeltaError(f"the base ended early, at byte {at} of {base_size}")
        at += len(piece)
        yield piece
