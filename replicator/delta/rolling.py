"""Weak sums: cheap to compute at every offset of a buffer, to find where a block of the base may begin.

The sum of a window of w bytes is a polynomial in a multiplier M, modulo 2**32 (Karp and Rabin, "Efficient randomized pattern-matching
algorithms", 1987; librsync has used the same since 2.2.0):

    H(w, i) = b[i] * M**(w-1) + b[i+1] * M**(w-2) + ... + b[i+w-1]

A Python loop that updates it byte by byte runs at 2 MB/s. *Doubling* computes it for all offsets at once; each step is two NumPy
operations on a piece that stays in the L2 cache:

    H(2w, i) = H(w, i) * M**w + H(w, i+w)

The sum does not cover a whole block, but 32 bytes at its start and, by one more step of the same form with a longer distance, 32 bytes
at a *probe* further on. That tells apart blocks that begin alike (headers, zeros), and makes signing a file 20 times cheaper than
summing all of its bytes. A match of weak sums must be confirmed by a strong sum.

M is odd, random and secret to a catalog, which makes it hard to construct collisions in advance. It does not exclude them: for windows
of 128 bytes, Thue-Morse words collide under every odd M (at 32 bytes they still share 19 bits). So the matcher bounds the work that
collisions can cause.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from replicator.delta.sums import WINDOW, powers_of, probe_of

Sums = npt.NDArray[np.uint32]

PIECE = 1 << 16
"""Offsets summed at once: two buffers of 256 KiB (plus probe) fit into an L2 cache of 1 MiB. With 8 Ki offsets, the overhead of calls
makes it three times slower."""

MIN_TABLE_BITS, MAX_TABLE_BITS = 16, 20
"""The table has at least 64 cells for each sum, so that less than 2 % of random offsets pass it. 2**20 cells (1 MiB) are as many as an
L2 cache holds: with more than 16,384 blocks, more offsets pass, and the search slows down."""

FOUND_AT_ONCE = 2048
"""Positions looked up together: of random data, about 1,000 offsets of a piece pass the table; where all 65,536 pass, the caller stops
after a few."""


class WeakSum:
    """Weak sums for one block size and multiplier. Holds its buffers, so it is not thread-safe.

    Args:
        block_size: bytes in a block, at least 2 * WINDOW.
        multiplier: the odd multiplier M, below 2**32.

    Attributes:
        span: bytes from a block's start to the end of its second window.
    """

    def __init__(self, block_size: int, multiplier: int) -> None:
        probe = probe_of(block_size)
        self.span = probe + WINDOW
        self._probe = probe
        powers = powers_of(multiplier)
        doublings = [1 << level for level in range(WINDOW.bit_length() - 1)]
        self._steps = [(width, np.uint32(powers[width])) for width in doublings]
        self._steps.append((probe, np.uint32(powers[WINDOW])))
        self._weights = np.array(powers[WINDOW - 1 :: -1], dtype=np.uint32)
        self._sums = np.empty(0, dtype=np.uint32)
        self._scratch = np.empty(0, dtype=np.uint32)

    def of_blocks(self, blocks: npt.NDArray[np.uint8]) -> Sums:
        """Return the sum of each block.

        Args:
            blocks: uint8, shape (blocks, block_size).

        Returns:
            uint32, shape (blocks,).
        """
        head = blocks[:, :WINDOW].astype(np.uint32) @ self._weights
        deep = blocks[:, self._probe : self.span].astype(np.uint32) @ self._weights
        sums: Sums = head * self._steps[-1][1] + deep
        return sums

    def at_every_offset(self, data: memoryview) -> Sums:
        """Return the sum at every offset of a piece.

        Args:
            data: at least `span` and less than PIECE + `span` bytes.

        Returns:
            uint32, shape (len(data) - span + 1,): a view that the next call overwrites.
        """
        left = len(data)
        if not len(self._sums):
            self._sums = np.empty(PIECE + self.span, dtype=np.uint32)
            self._scratch = np.empty(PIECE + self.span, dtype=np.uint32)
        sums, scratch = self._sums, self._scratch
        np.copyto(sums[:left], np.frombuffer(data, dtype=np.uint8))
        for distance, power in self._steps:
            left -= distance
            # Two buffers, used in turn: with one, NumPy would make a temporary copy, because input and output overlap.
            np.multiply(sums[:left], power, out=scratch[:left])
            np.add(scratch[:left], sums[distance : distance + left], out=scratch[:left])
            sums, scratch = scratch, sums
        return sums[:left]


class WeakIndex:
    """The set of a base's weak sums. Holds its buffers, so it is not thread-safe.

    Args:
        sums: uint32, shape (blocks,), in any order, with repetitions.
    """

    def __init__(self, sums: Sums) -> None:
        ordered = np.sort(sums)
        # np.unique would import numpy.ma at its first call: 10 ms, as long as the whole search of a file of 4 MiB.
        self._sorted = ordered[np.flatnonzero(np.diff(ordered, prepend=~ordered[:1]))]
        bits = len(self._sorted).bit_length() + 6
        self._shift = np.uint32(32 - min(max(bits, MIN_TABLE_BITS), MAX_TABLE_BITS))
        # Index by the top bits: the low bits of a polynomial modulo 2**32 depend only on the low bits of the data.
        self._table = np.zeros(1 << (32 - int(self._shift)), dtype=np.bool_)
        self._table[self._sorted >> self._shift] = True
        self._cells = np.empty(PIECE, dtype=np.uint32)
        self._marked = np.empty(PIECE, dtype=np.bool_)

    def find(self, sums: Sums) -> Iterator[int]:
        """Yield the positions whose sum is in the set, in ascending order.

        Args:
            sums: uint32, shape (at most PIECE,); must not change until the iteration ends.
        """
        cells, marked = self._cells[: len(sums)], self._marked[: len(sums)]
        np.right_shift(sums, self._shift, out=cells)
        # "clip" never clips here; "raise" would make take() buffer its output.
        np.take(self._table, cells, out=marked, mode="clip")
        positions = np.flatnonzero(marked)
        for start in range(0, len(positions), FOUND_AT_ONCE):
            some = positions[start : start + FOUND_AT_ONCE]
            values = sums[some]
            nearest = np.searchsorted(self._sorted, values)
            nearest[nearest == len(self._sorted)] = 0
            yield from some[self._sorted[nearest] == values].tolist()
