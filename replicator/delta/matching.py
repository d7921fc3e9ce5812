"""Find a base's blocks in a new version, from the base's signature alone.

The matcher tries the likely and cheap steps first (WebR2sync+, FAST '18: using the locality of edits saves 90 % of the search):

1. *Follow*: expect the base's next block where the last one ended. This takes one strong sum for each block, at 10 GB/s and more.
2. *Miss*: try the base's short last block, then any block of the base here and at the next few block boundaries, as after an
   overwrite in place.
3. *Search*: compute weak sums at every offset (see `rolling`), and a strong sum where the weak sum is one of the base's. The first
   block found leads back to step 1.
4. *Stride*: after GIVE_UP bytes without a match, send long stretches as literals and test only the block boundaries. Search again at
   geometrically growing distances, so that at most a sixteenth of a large insert is sent in excess, and an unrelated file is hardly
   searched.

rsync (Tridgell and Mackerras, "The rsync algorithm", 1996) compares the blocks that share a weak sum one by one. Here the strong sum
of an offset is computed once and looked up in a dictionary of all blocks, so 40,000 blocks with one weak sum cost no more than one.
It remains to bound the number of offsets whose strong sum is computed; the credit does that.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from replicator.delta.ops import Merger, Op
from replicator.delta.rolling import PIECE, WeakIndex, WeakSum
from replicator.delta.signature import Signature

LOOK_AHEAD = 4
"""Block boundaries tested after a miss, beyond the first: an edit in place rarely spans more, and each costs 1 us, a search 60 us."""

GIVE_UP = 8 << 20
"""Bytes searched without a match before striding: 20 ms of work."""

OVERSHOOT = 16
"""Divisor: after a search without a match, stride over 1/16 of the bytes since the last match before the next search."""

CREDIT = 16 << 20
"""Initial and largest credit, in bytes that may be hashed where weak sums match: about 1,000 offsets with blocks of 8 KiB."""

CREDIT_RATE = 16
"""Bytes of credit gained for each byte searched: for each MiB with false matches, 1 ms of strong sums beside 4 ms of weak sums."""

CALL_COST = 4096
"""Bytes of credit for the call that computes a strong sum: from Python it takes as long as hashing this many bytes."""


class _Index:
    """Index of a base's full blocks by weak and strong sum. It is built at the first miss, so identical files need none."""

    def __init__(self, base: Signature, strong: list[bytes]) -> None:
        self.weak_sum = WeakSum(base.block_size, base.multiplier)
        self.weak = WeakIndex(np.frombuffer(base.weak, dtype="<u4").astype(np.uint32, copy=False))
        blocks = range(base.full_blocks - 1, -1, -1)
        self.where = {strong[block]: block for block in blocks}  # of equal blocks, the first


class Matcher:
    """Computes the delta from a base to a new version, which is fed in chunks of any size.

    Call `feed` with the chunks in order, then `finish`; the concatenation of the returned lists is the delta. Between calls, the
    matcher holds less than one block of input, and literals of at most MAX_LITERAL bytes.

    Args:
        base: signature of the version that the frontends have.
    """

    def __init__(self, base: Signature) -> None:
        size = base.block_size
        self._base = base
        self._block = size
        self._full = base.full_blocks
        self._digest, width, cost = base.strong_sum
        starts = range(0, len(base.strong), width)
        self._strong = [base.strong[start : start + width] for start in starts]
        self._test_cost = (size + CALL_COST) * cost
        self._tail = base.size % size
        self._out = Merger()
        self._rest = b""
        self._next = 0  # index of the block expected next
        self._lost = False  # whether searching or striding (steps 3 and 4)
        self._missed = 0  # bytes since the last match, while lost
        self._to_search = 0  # bytes to search before the next stride
        self._to_stride = 0  # bytes to stride before the next search, a multiple of the block size
        self._credit = CREDIT

    def feed(self, chunk: bytes | memoryview) -> list[Op]:
        """Return the instructions that the next bytes complete; the caller may then reuse the buffer."""
        view, at = self._joined(chunk), 0
        while len(view) - at >= self._block:
            at = self._seek(view, at) if self._lost else self._follow(view, at)
        self._rest = bytes(view[at:])
        return self._out.take()

    def finish(self) -> list[Op]:
        """Return the remaining instructions; the matcher must not be used afterwards."""
        rest = memoryview(self._rest)
        for start in (0, len(rest) - self._tail):
            if start >= 0 and self._is_tail(rest[start:]):
                self._out.literal(rest[:start])
                self._out.copy(self._full * self._block, self._tail)
                rest = rest[start + self._tail :]
                break
        self._out.literal(rest)
        return self._out.finish()

    def _joined(self, chunk: bytes | memoryview) -> memoryview:
        """Return the rest of the previous chunk joined with the next chunk; if a block across the cut matches, the bytes after it.

        Such a block is joined by itself: to join all chunks would copy the whole version once data was inserted at its beginning.
        """
        rest, self._rest = self._rest, b""
        cut = self._block - len(rest)
        if rest and not self._lost and self._next < self._full and cut <= len(chunk):
            block = rest + chunk[:cut]
            if self._digest(block) == self._strong[self._next]:
                self._out.copy(self._next * self._block, self._block)
                self._next += 1
                return memoryview(chunk)[cut:]
        return memoryview(rest + chunk if rest else chunk)

    @cached_property
    def _index(self) -> _Index:
        return _Index(self._base, self._strong)

    def _is_tail(self, view: memoryview) -> bool:
        """Return True if the base's short last block is at the beginning of `view`."""
        if not 0 < self._tail <= len(view):
            return False
        return self._digest(view[: self._tail]) == self._strong[-1]

    def _locate(self, view: memoryview, hint: int) -> int:
        """Return the index of the base's block with this content, or -1; of equal blocks, prefer `hint`, which continues a copy."""
        digest = self._digest(view)
        if hint < self._full and self._strong[hint] == digest:
            return hint
        return self._index.where.get(digest, -1)

    def _follow(self, view: memoryview, at: int) -> int:
        """Copy blocks as long as the expected one follows, then handle the miss; return the offset of the first byte not consumed."""
        size, strong, full, digest = self._block, self._strong, self._full, self._digest
        block, end = self._next, at
        while (
            block < full
            and end + size <= len(view)
            and digest(view[end : end + size]) == strong[block]
        ):
            block += 1
            end += size
        self._out.copy(self._next * size, end - at)
        self._next = block
        return end if end + size > len(view) else self._miss(view, end)

    def _miss(self, view: memoryview, at: int) -> int:
        """Try the cheap places (step 2), and begin to search if none matches; return the offset of the first byte not consumed."""
        if self._next == self._full and self._is_tail(view[at:]):
            self._out.copy(self._full * self._block, self._tail)
            self._next += 1
            return at + self._tail
        for ahead in range(LOOK_AHEAD + 1):
            start = at + ahead * self._block
            if start + self._block > len(view):
                break
            block = self._locate(view[start : start + self._block], self._next + ahead)
            if block >= 0:
                return self._hit(view, at, start, block)
        self._lost = True
        self._missed = 0
        self._to_search, self._to_stride = GIVE_UP, 0
        return at

    def _hit(self, view: memoryview, at: int, start: int, block: int) -> int:
        self._out.literal(view[at:start])
        self._out.copy(block * self._block, self._block)
        self._next = block + 1
        self._lost = False
        return start + self._block

    def _pass(self, view: memoryview, at: int, count: int) -> int:
        self._out.literal(view[at : at + count])
        self._missed += count
        return at + count

    def _seek(self, view: memoryview, at: int) -> int:
        """Search one piece or stride over one block; at least a block of input must be left."""
        return self._stride(view, at) if self._to_stride else self._search(view, at)

    def _stride(self, view: memoryview, at: int) -> int:
        size = self._block
        block = self._locate(view[at : at + size], self._next)
        if block >= 0:
            return self._hit(view, at, at, block)
        self._to_stride -= size
        if not self._to_stride:
            self._to_search = max(
                size, PIECE
            )  # any stretch of one block's length contains the beginning of a block
        return self._pass(view, at, size)

    def _search(self, view: memoryview, at: int) -> int:
        size = self._block
        # Pieces grow with the bytes missed, so that a match early in a piece wastes no more work than was done before.
        piece = min(PIECE, max(2 * size, self._missed))
        count = min(piece, self._to_search, len(view) - size - at + 1)
        self._credit = min(self._credit + CREDIT_RATE * count, CREDIT)
        summed = self._index.weak_sum.at_every_offset(view[at : at + count + self._span - 1])
        for offset in self._index.weak.find(summed):
            if self._credit < 0:
                break
            self._credit -= self._test_cost
            start = at + offset
            block = self._locate(view[start : start + size], self._next)
            if block >= 0:
                return self._hit(view, at, start, block)
        self._to_search -= count
        if not self._to_search:
            self._to_stride = max(1, (self._missed + count) // OVERSHOOT // size) * size
        return self._pass(view, at, count)

    @property
    def _span(self) -> int:
        return self._index.weak_sum.span
