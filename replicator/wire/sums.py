"""Messages about the sums of the blocks of a file that a frontend holds (`delta.sums`).

The backend requests them a stretch at a time, so that neither side holds more than a few stretches, and a live change waits for less than
one. The stretches belong together if all are of the same version.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from replicator.wire import fields
from replicator.wire.fields import text_of

MAX_ROWS = 8192
"""Rows in one message: 96 KiB."""

MIN_BLOCK, MAX_BLOCK = 4096, 4 << 20
"""Bytes in a block."""

version = fields.text(100)
"""Check the version of a file: text that the agent makes and recognises, which differs if the file was changed."""

_blocks = fields.integer(1, MAX_ROWS)
_block_size = fields.integer(MIN_BLOCK, MAX_BLOCK)
_multiplier = fields.integer(1, (1 << 32) - 1)


class SumBlocks(NamedTuple):
    """Request the sums of some blocks of a file.

    Attributes:
        job: number of the request; the answers come in the order of the requests.
        tree: number of the tree.
        path: the file.
        least: bytes; a smaller file is not read.
        most: bytes; a larger file is not read.
        block_size: bytes in a block.
        multiplier: of the weak sums; odd.
        first: index of the first block.
        blocks: number of blocks, at most MAX_ROWS.
    """

    job: int
    tree: int
    path: bytes
    least: int
    most: int
    block_size: int
    multiplier: int
    first: int
    blocks: int

    def header(self) -> dict[str, Any]:
        """Return the frame header."""
        return {"t": "sums", **self._asdict(), "path": text_of(self.path)}


class BlockSums(NamedTuple):
    """The answer to one SumBlocks; the payload has the rows of the blocks that exist.

    Attributes:
        job: number of the request.
        size: bytes in the file; -1: there is no file that can be read, or its size is out of the limits, and there are no rows.
        version: which version of the file was summed.
    """

    job: int
    size: int = -1
    version: str = ""

    def header(self) -> dict[str, Any]:
        """Return the frame header."""
        return {"t": "summed", **self._asdict()}


def parse_sum_blocks(header: dict[str, Any]) -> SumBlocks:
    """Return the message in a frame header. Raises ProtocolError, and KeyError for a missing field."""
    return SumBlocks(
        fields.number(header["job"]),
        fields.tree(header["tree"]),
        fields.path(header["path"]),
        fields.size(header["least"]),
        fields.size(header["most"]),
        _block_size(header["block_size"]),
        _multiplier(header["multiplier"]),
        fields.number(header["first"]),
        _blocks(header["blocks"]),
    )


def parse_block_sums(header: dict[str, Any]) -> BlockSums:
    """Return the message in a frame header. Raises ProtocolError, and KeyError for a missing field."""
    return BlockSums(
        fields.number(header["job"]),
        _size_or_none(header["size"]),
        version(header["version"]),
    )


_size_or_none = fields.integer(-1, fields.MAX_FILE)
