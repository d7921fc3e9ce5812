"""Find a base's blocks in a new version, from the base's signature alone.

The order is that of likelihood and of cost, cheapest first (WebR2sync+, FAST '18: following the locality of edits saves
90 % of the search):

1. *Follow*: the next expected block begins where the last one ended. One strong sum for each block, 10 GB/s and more.
2. *Miss*: the base's short last block; the same block elsewhere in the base; an aligned block a little ahead, as after an
   overwrite in place.
3. *Search*: weak sums at every offset (see `rolling`), a strong sum where one is known. The first hit goes back to 1.
4. *Stride*: after GIVE_UP bytes in vain take long stretches as literal, looking only at each block's boundary. Search
   again at geometric distances: a large insert is overshot by at most a sixteenth, an unrelated file is hardly searched.

rsync (Tridgell and Mackerras, "The rsync algorithm", 1996) compares each offset's candidates one by one. Here a candidate is
an offset: its strong sum is computed once and looked up in a dictionary of all blocks, so 40,000 blocks with one weak
sum cost no more than one. What is left to bound is how many offsets are followed up; that is the credit.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from xxhash import xxh3_128_digest

from replicator.delta.ops import Merger, Op
from replicator.delta.rolling import PIECE, WeakIndex, WeakSum
from replicator.delta.signature import DIGEST_SIZE, Signature

LOOK_AHEAD = 4
"""Aligned blocks looked at after a miss: an edit in place rarely spans more, and each costs 1 us where a search costs 60."""

GIVE_UP = 8 << 20
"""Bytes searched without a hit before striding: 20 ms of work."""

OVERSHOOT = 16
"""One part in so many of what was missed is strode over before the next search."""

CREDIT = 16 << 20
"""Bytes that may be hashed to follow up weak hits, to begin with: about 1,000 candidates for blocks of 8 KiB."""

CREDIT_RATE = 16
"""Bytes of credit for each byte searched: 1 ms of strong sums beside 4 ms of weak ones for each MiB of decoys."""

CALL_COST = 4096
"""Bytes that one strong sum costs beyond its block's: a call from Python takes as long as hashing these."""


class _Index:
    """Where each of a base's full blocks is. Built on the first miss; most deltas of identical files need none."""

    def __init__(self, base: Signature, strong: list[bytes]) -> None:
        self.weak_sum = WeakSum(base.block_size, base.multiplier)
        self.weak = WeakIndex(np.frombuffer(base.weak, dtype="<u4").astype(np.uint32, copy=False))
        blocks = range(base.full_blocks - 1, -1, -1)
        self.where = {strong[block]: block for block in blocks}  # the first of equals stays


class Matcher:
    """Turns a new version, however it is cut, into instructions against a base.

    Feed the bytes in order, then finish; the concatenation of all lists is the delta. It holds less than one block
    between calls, and literals of at most MAX_LITERAL.

    Args:
        base: signature of the version that the frontends hold.
    """

    def __init__(self, base: Signature) -> None:
        size = base.block_size
        self._base = base
        self._block = size
        self._full = base.full_blocks
        starts = range(0, len(base.strong), DIGEST_SIZE)
        self._strong = [base.strong[start : start + DIGEST_SIZE] for start in starts]
        self._tail = base.size % size
        self._out = Merger()
        self._rest = b""
        self._next = 0  # the block of the base that is expected next
        self._lost = False
        self._missed = 0  # bytes since we are lost
        self._to_search = 0  # bytes to search before the next stride
        self._to_stride = (
            0  # bytes to stride before the next search; both are multiples of the block
        )
        self._credit = CREDIT

    def feed(self, chunk: bytes | memoryview) -> list[Op]:
        """Return the instructions that the next bytes complete; the buffer behind them may be used again afterwards."""
        view, at = self._joined(chunk), 0
        while len(view) - at >= self._block:
            at = self._seek(view, at) if self._lost else self._follow(view, at)
        self._rest = bytes(view[at:])
        return self._out.take()

    def finish(self) -> list[Op]:
        """Return the last instructions; the matcher is done."""
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
        """Return what was left with what has come; or only the latter, behind the block that lies across the cut.

        To join all of it would copy a version with a byte more in front from its beginning to its end.
        """
        rest, self._rest = self._rest, b""
        cut = self._block - len(rest)
        if rest and not self._lost and self._next < self._full and cut <= len(chunk):
            block = rest + chunk[:cut]
            if xxh3_128_digest(block) == self._strong[self._next]:
                self._out.copy(self._next * self._block, self._block)
                self._next += 1
                return memoryview(chunk)[cut:]
        return memoryview(rest + chunk if rest else chunk)

    @cached_property
    def _index(self) -> _Index:
        return _Index(self._base, self._strong)

    def _is_tail(self, view: memoryview) -> bool:
        """Whether the base's short last block is here."""
        if not 0 < self._tail <= len(view):
            return False
        return xxh3_128_digest(view[: self._tail]) == self._strong[-1]

    def _locate(self, view: memoryview, hint: int) -> int:
        """Return which block this is, or -1; of equal ones rather `hint`, so that runs of them stay runs."""
        digest = xxh3_128_digest(view)
        if hint < self._full and self._strong[hint] == digest:
            return hint
        return self._index.where.get(digest, -1)

    def _follow(self, view: memoryview, at: int) -> int:
        """Take expected blocks as long as they come; return where that ended, with a block's bytes left on a miss."""
        size, strong, full = self._block, self._strong, self._full
        block, end = self._next, at
        while (
            block < full
            and end + size <= len(view)
            and xxh3_128_digest(view[end : end + size]) == strong[block]
        ):
            block += 1
            end += size
        self._out.copy(self._next * size, end - at)
        self._next = block
        return end if end + size > len(view) else self._miss(view, end)

    def _miss(self, view: memoryview, at: int) -> int:
        """Look where it costs little; begin to search if that is in vain."""
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
        """Go on while lost, by one piece or one block; a block's bytes are left."""
        return self._stride(view, at) if self._to_stride else self._search(view, at)

    def _stride(self, view: memoryview, at: int) -> int:
        size = self._block
        block = self._locate(view[at : at + size], self._next)
        if block >= 0:
            return self._hit(view, at, at, block)
        self._to_stride -= size
        if not self._to_stride:
            self._to_search = max(size, PIECE)  # a block begins in any block's length
        return self._pass(view, at, size)

    def _search(self, view: memoryview, at: int) -> int:
        size = self._block
        # Pieces grow with what was missed: of a piece that ends in an early hit, no more is wasted than was gained.
        piece = min(PIECE, max(2 * size, self._missed))
        count = min(piece, self._to_search, len(view) - size - at + 1)
        self._credit = min(self._credit + CREDIT_RATE * count, CREDIT)
        summed = self._index.weak_sum.at_every_offset(view[at : at + count + self._span - 1])
        for offset in self._index.weak.find(summed):
            if self._credit < 0:
                break
            self._credit -= size + CALL_COST
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
