"""Blocks in a zlib stream, and the columns of a block; `wire.manifest` says what they hold.

A block is a kind (one byte), a length (unsigned 32 bits) and columns. All numbers are little-endian.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, Iterable, Iterator, Sequence

from replicator.errors import ProtocolError

MAX_BLOCK = 1 << 21
"""Bytes in a block."""

MAX_INFLATED = 1 << 32
"""Bytes in all blocks of a stream."""

_PIECE = 1 << 18  # bytes that are inflated at a time
_LEVEL = 1  # of compression: two thirds of a manifest are digests, which no level compresses
_HEAD = struct.Struct("<cI")


def column(code: str, values: Sequence[int]) -> bytes:
    """Return numbers as a column; `code` is their type, as in the module `struct`."""
    return struct.pack(f"<{len(values)}{code}", *values)


class Columns:
    """Takes the columns of a block one after the other."""

    def __init__(self, body: bytes, offset: int) -> None:
        self._body = body
        self._at = offset

    def numbers(self, count: int, code: str) -> tuple[Any, ...]:
        """Return the next `count` numbers. Raises struct.error if the block is too short."""
        found = struct.unpack_from(f"<{count}{code}", self._body, self._at)
        self._at += struct.calcsize(f"<{count}{code}")
        return found

    def data(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        found = self._body[self._at : self._at + size]
        self._at += size
        if len(found) != size:
            raise ProtocolError("a block of the manifest is shorter than its columns")
        return found

    def texts(self, count: int, size: int) -> list[bytes]:
        """Return the next `count` texts, which have `size` bytes with the NULs between them."""
        found = self.data(size).split(b"\0")
        if len(found) != count:
            raise ProtocolError("the number of texts in a block of the manifest is wrong")
        return found

    def end(self) -> None:
        """Check that nothing is left."""
        if self._at != len(self._body):
            raise ProtocolError("a block of the manifest is longer than its columns")


def deflated(blocks: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes]:
    """Yield the pieces of a zlib stream of blocks, each given as its kind and its columns.

    Raises:
        ValueError: if the stream exceeds MAX_INFLATED.
    """
    deflate = zlib.compressobj(_LEVEL)
    total = 0
    for kind, body in blocks:
        total += _HEAD.size + len(body)
        if total > MAX_INFLATED:
            raise ValueError("the tree has too many entries for a manifest")
        yield deflate.compress(_HEAD.pack(kind, len(body)) + body)
    yield deflate.flush()


def inflated(magic: bytes, pieces: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind and the columns of each block of a stream that follows `magic`.

    Raises:
        ProtocolError: if the stream is malformed, cut off or too large.
    """
    held = b""
    for data in _bytes(magic, pieces):
        held += data
        at = 0
        while len(held) - at >= _HEAD.size:
            kind, length = _HEAD.unpack_from(held, at)
            if length > MAX_BLOCK:
                raise ProtocolError("a block of the manifest is too large")
            end = at + _HEAD.size + length
            if len(held) < end:
                break
            yield kind, held[at + _HEAD.size : end]
            at = end
        held = held[at:]
    if held:
        raise ProtocolError("the manifest is cut off")


def _bytes(magic: bytes, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the inflated bytes, at most _PIECE at a time."""
    inflate = zlib.decompressobj()
    start = b""
    total = 0
    for piece in pieces:
        if len(start) < len(magic):
            start += piece
            if len(start) < len(magic):
                continue
            if not start.startswith(magic):
                break
            piece = start[len(magic) :]
        full = True
        while piece or full:
            try:
                data = inflate.decompress(piece, _PIECE)
            except zlib.error:
                raise ProtocolError("the manifest cannot be inflated") from None
            total += len(data)
            if total > MAX_INFLATED:
                raise ProtocolError("the manifest is too large")
            piece, full = inflate.unconsumed_tail, len(data) == _PIECE
            yield data
    if inflate.unused_data:
        raise ProtocolError("the manifest goes on after its end")
    if not start.startswith(magic) or not inflate.eof:
        raise ProtocolError("the manifest is cut off, or is none")
