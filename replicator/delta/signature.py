"""Signatures: the block sums of one version, kept so that the delta to the next needs neither the old content nor a round trip.

Each full block has a weak sum (see `rolling`), and each block, including a short last one, has an xxh3_128 as its strong sum. xxh3 is
not cryptographic: the agent always verifies the result of a delta by its SHA-256.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from xxhash import xxh3_128_digest

from replicator.delta.rolling import WeakSum
from replicator.delta.sums import ROW, STRONG_SIZE, WEAK_SIZE, WINDOW, strong_sum
from replicator.errors import DeltaError

DIGEST_SIZE = 16
"""Bytes of an xxh3_128."""

MIN_BLOCK = 2 * WINDOW
"""Smallest block of a signature, in bytes; used by tests. `block_size_for` begins at 4 KiB."""

MAX_BLOCK = 4 << 20
"""Largest block, in bytes: a matcher holds one in memory, and the smallest edit sends a whole one."""

MAX_BLOCKS = 1 << 22
"""Blocks in a signature (80 MiB packed): 16 TiB, ext4's largest file, in blocks of MAX_BLOCK."""

_HEADER = struct.Struct("<4sIIQ")
_MAGIC = b"sig1"  # version of the packed form and of the weak sum


def block_size_for(size: int) -> int:
    """Return the block size in bytes for a file of `size` bytes: the least power of two >= its square root.

    Growth with the square root balances the size of the sums against that of the literals (Tridgell's rsync thesis, 1999, 3.3); a power
    of two aligns blocks with pages. Blocks have 4 KiB in files up to 16 MiB, 8 KiB up to 64 MiB, 32 KiB at 1 GiB, and so on up to
    MAX_BLOCK. Packed, the sums take 80 KiB at 16 MiB and 640 KiB at 1 GiB.
    """
    block = 4096
    while block * block < size and block < MAX_BLOCK:
        block *= 2
    return block


class StrongSum(NamedTuple):
    """A kind of strong sums.

    Attributes:
        of: returns the sum of a block.
        size: bytes of a sum.
        cost: time that a sum takes, as a multiple of that of an xxh3_128.
    """

    of: Callable[[bytes | memoryview], bytes]
    size: int
    cost: int


@dataclass(frozen=True)
class Signature:
    """The sums of one version of a file.

    Attributes:
        size: bytes in the file.
        block_size: bytes in a block; a power of two.
        multiplier: the key of the weak sums; odd, below 2**32.
        weak: little-endian uint32 of each full block, in order.
        strong: xxh3_128 (16 bytes, canonical order) of each block, in order; the last block may be short.
        strong_sum: the kind of the strong sums.

    Raises:
        DeltaError: a value is out of range, or the number of sums does not fit the size.
    """

    strong_sum: ClassVar[StrongSum] = StrongSum(xxh3_128_digest, DIGEST_SIZE, 1)

    size: int
    block_size: int
    multiplier: int
    weak: bytes
    strong: bytes

    def __post_init__(self) -> None:
        if not MIN_BLOCK <= self.block_size <= MAX_BLOCK or self.block_size & (self.block_size - 1):
            raise DeltaError(f"invalid signature: block size {self.block_size}")
        if not 0 < self.multiplier < 1 << 32 or not self.multiplier & 1:
            raise DeltaError("invalid signature: the multiplier is not an odd 32-bit number")
        if not 0 <= self.size <= MAX_BLOCKS * self.block_size:
            raise DeltaError(f"invalid signature: file size {self.size}")
        full, blocks = self.size // self.block_size, -(-self.size // self.block_size)
        if len(self.weak) != 4 * full or len(self.strong) != self.strong_sum.size * blocks:
            raise DeltaError(f"invalid signature: wrong number of sums for {self.size} bytes")

    @property
    def full_blocks(self) -> int:
        """Number of blocks of full size."""
        return self.size // self.block_size

    def pack(self) -> bytes:
        """Return the signature as bytes: a header of 20 bytes, then 20 bytes for each block."""
        header = _HEADER.pack(_MAGIC, self.block_size, self.multiplier, self.size)
        return header + self.weak + self.strong

    @classmethod
    def unpack(cls, packed: bytes) -> Signature:
        """Return the signature that `pack` encoded.

        Raises:
            DeltaError: another version of the format, truncated, too long, or inconsistent.
        """
        if len(packed) < _HEADER.size or not packed.startswith(_MAGIC):
            raise DeltaError("not a packed signature of this version")
        _, block_size, multiplier, size = _HEADER.unpack_from(packed)
        middle = _HEADER.size + 4 * (size // max(block_size, 1))
        return cls(size, block_size, multiplier, packed[_HEADER.size : middle], packed[middle:])


class AgentSignature(Signature):
    """The sums of what a frontend holds, as its agent has made them (see `sums`). They are not packed."""

    strong_sum = StrongSum(strong_sum, STRONG_SIZE, 8)  # SHA-256: 1.3 GB/s

    @classmethod
    def of_rows(cls, size: int, block_size: int, multiplier: int, rows: bytes) -> AgentSignature:
        """Return the signature that consists of these rows.

        Raises:
            DeltaError: a value is out of range, or the number of rows does not fit the size.
        """
        if len(rows) % ROW:
            raise DeltaError("invalid signature: an incomplete row")
        table = np.frombuffer(rows, dtype=np.uint8).reshape(-1, ROW)
        weak = table[: size // max(block_size, 1), :WEAK_SIZE].tobytes()
        return cls(size, block_size, multiplier, weak, table[:, WEAK_SIZE:].tobytes())


class Signer:
    """Computes the signature of a version that is added in chunks of any size.

    Args:
        block_size: bytes in a block; see `block_size_for`.
        multiplier: the catalog's random odd number below 2**32.

    Raises:
        DeltaError: `block_size` or `multiplier` is not allowed.
    """

    def __init__(self, block_size: int, multiplier: int) -> None:
        Signature(0, block_size, multiplier, b"", b"")  # checks both
        self._block_size = block_size
        self._multiplier = multiplier
        self._weak_sum = WeakSum(block_size, multiplier)
        self._size = 0
        self._weak = bytearray()
        self._strong = bytearray()
        self._rest = b""

    def update(self, chunk: bytes | memoryview) -> None:
        """Add the next bytes; the caller may then reuse the buffer."""
        self._size += len(chunk)
        view = memoryview(self._rest + chunk if self._rest else chunk)
        full = len(view) // self._block_size
        end = full * self._block_size
        if full:
            blocks = np.frombuffer(view[:end], dtype=np.uint8).reshape(full, self._block_size)
            self._weak += self._weak_sum.of_blocks(blocks).astype("<u4").tobytes()
            self._add_strong(view[:end])
        self._rest = bytes(view[end:])

    def finish(self) -> Signature:
        """Return the signature of all bytes added; the signer must not be used afterwards.

        Raises:
            DeltaError: there are more than MAX_BLOCKS blocks.
        """
        self._add_strong(memoryview(self._rest))
        return Signature(
            self._size, self._block_size, self._multiplier, bytes(self._weak), bytes(self._strong)
        )

    def _add_strong(self, view: memoryview) -> None:
        size = self._block_size
        self._strong += b"".join(
            [xxh3_128_digest(view[start : start + size]) for start in range(0, len(view), size)]
        )
