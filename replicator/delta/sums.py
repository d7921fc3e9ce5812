"""Sums of the blocks of a file that a frontend holds, made by its agent with the standard library alone.

A block's row is its weak sum, the same as in `rolling`, and the beginning of its SHA-256. The weak sum covers 64 bytes only, so
in Python it takes 4 us for a block; the SHA-256 of 32 KiB takes 25 us with instructions of the processor for it.

A row is short because two rows that are equal by chance, or by intent, do no harm: the agent verifies the result of a delta by its SHA-256,
and the backend then sends the whole file.

This file is streamed to the frontends: standard library only, Python 3.9.
"""

from __future__ import annotations

from hashlib import sha256
from operator import mul
from typing import Union

WINDOW = 32
"""Bytes in each of the two windows of a weak sum, a power of two. Each doubling costs `rolling` a fifth of its speed; 32 bytes distinguish text
well."""

MAX_PROBE = 8192
"""Largest distance in bytes from a block's start to its second window; `rolling` must sum this many bytes after each piece as well."""

WEAK_SIZE, STRONG_SIZE = 4, 8
"""Bytes of the two sums in a row. 96 bits: in 1 GiB of unrelated content, one of 2**30 offsets matches one of 2**15 blocks by chance once in
2**51 files."""

ROW = WEAK_SIZE + STRONG_SIZE
"""Bytes of a row. The weak sum of a short last block is 0."""


def probe_of(block_size: int) -> int:
    """Return the distance from a block's start to the second window of its weak sum."""
    return min(block_size // 2, MAX_PROBE)


def powers_of(multiplier: int) -> list[int]:
    """Return the powers of a multiplier modulo 2**32, with exponents from 0 to WINDOW."""
    return [pow(multiplier, exponent, 1 << 32) for exponent in range(WINDOW + 1)]


def strong_sum(block: Union[bytes, memoryview]) -> bytes:
    """Return the strong sum of a block."""
    return sha256(block).digest()[:STRONG_SIZE]


class RowMaker:
    """Makes the rows of blocks.

    Args:
        block_size: bytes in a block, at least 2 * WINDOW.
        multiplier: the odd multiplier of the weak sums, below 2**32.
    """

    def __init__(self, block_size: int, multiplier: int) -> None:
        self._block_size = block_size
        self._probe = probe_of(block_size)
        powers = powers_of(multiplier)
        self._weights = powers[WINDOW - 1 :: -1]
        self._shift = powers[WINDOW]

    def rows(self, piece: memoryview) -> bytes:
        """Return the rows of the blocks in a piece, of which only the last may be short."""
        size = self._block_size
        return b"".join(
            [self._row(piece[start : start + size]) for start in range(0, len(piece), size)]
        )

    def _row(self, block: memoryview) -> bytes:
        weak = 0
        if len(block) == self._block_size:
            head = sum(map(mul, block[:WINDOW], self._weights))
            deep = sum(map(mul, block[self._probe : self._probe + WINDOW], self._weights))
            weak = (head * self._shift + deep) & 0xFFFFFFFF
        return weak.to_bytes(WEAK_SIZE, "little") + strong_sum(block)
