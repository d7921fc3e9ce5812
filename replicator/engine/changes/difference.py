"""Find how a large file differs from the version that a frontend holds, from the sums that its agent has made.

The file is read once to find the difference, and the bytes that the frontend lacks are read again when they are sent: a delta may be larger than
what should be held in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from replicator.delta.matching import Matcher
from replicator.delta.ops import Copy, Op
from replicator.delta.signature import AgentSignature
from replicator.engine.changes.encode import CHUNK, FRAME_OPS

PIECE = 1 << 20
"""Bytes read at once."""

WORTHWHILE = 0.7
"""A delta that lacks more than this fraction of the file is not sent: the frontend would read its version in vain."""

MOST_PARTS = 1 << 17
"""Parts of a delta at most: they take 20 MB. False sums could give two for each block."""

WORK = 4 << 20
"""Bytes that an agent has to write for one frame: 30 ms at 150 MB/s, for which a live change may have to wait."""


class HeldVersion(NamedTuple):
    """What a frontend holds at a path.

    Attributes:
        signature: its sums.
        version: identifies what was summed, for the agent.
    """

    signature: AgentSignature
    version: str


class Own(NamedTuple):
    """Bytes that the frontend lacks: a range of the new version."""

    offset: int
    length: int


Part = Copy | Own


class FoundDelta(NamedTuple):
    """How a file differs from what a frontend holds.

    Attributes:
        parts: what the file consists of, in order.
        base: version of what the frontend holds.
    """

    parts: Sequence[Part]
    base: str


class Group(NamedTuple):
    """The parts that are sent in one frame.

    Attributes:
        parts: the parts.
        work: bytes that the agent has to write for them.
    """

    parts: list[Part]
    work: int


def find_parts(
    held: AgentSignature,
    size: int,
    read: Callable[[int, int], bytes | None],
    is_wanted: Callable[[], bool],
) -> list[Part] | None:
    """Return what a file consists of; an empty list if a delta is not worthwhile, None if it is not wanted or cannot be made.

    Args:
        held: the sums of what the frontend holds.
        size: bytes of the file.
        read: `read(offset, length)` returns bytes of the file, or None if it has changed.
        is_wanted: called for each piece.
    """
    matcher, parts = Matcher(held), _Parts()
    for offset in range(0, size, PIECE):
        piece = read(offset, min(PIECE, size - offset)) if is_wanted() else None
        if piece is None:
            return None
        parts.add(matcher.feed(piece))
        if parts.lacking > WORTHWHILE * size or len(parts.found) > MOST_PARTS:
            return []
    parts.add(matcher.finish())
    return parts.found if parts.lacking <= WORTHWHILE * size else []


class _Parts:
    """Collects the parts of a delta.

    Attributes:
        found: the parts.
        lacking: bytes that the frontend lacks.
    """

    def __init__(self) -> None:
        self.found: list[Part] = []
        self.lacking = 0
        self._at = 0

    def add(self, ops: Sequence[Op]) -> None:
        """Add the next instructions."""
        for op in ops:
            if isinstance(op, Copy):
                self.found.append(op)
                self._at += op.length
                continue
            length = len(op.data)
            last = self.found[-1] if self.found else None
            if isinstance(last, Own):
                self.found[-1] = Own(last.offset, last.length + length)
            else:
                self.found.append(Own(self._at, length))
            self.lacking += length
            self._at += length


def groups_of(parts: Sequence[Part]) -> Iterator[Group]:
    """Split parts into groups that each fit into a frame: of at most CHUNK bytes that the frontend lacks, WORK bytes and FRAME_OPS parts."""
    group: list[Part] = []
    work = lacking = 0
    for part in _cut(parts):
        own = part.length if isinstance(part, Own) else 0
        if group and (
            lacking + own > CHUNK or work + part.length > WORK or len(group) >= FRAME_OPS
        ):
            yield Group(group, work)
            group, work, lacking = [], 0, 0
        group.append(part)
        work += part.length
        lacking += own
    if group:
        yield Group(group, work)


def _cut(parts: Sequence[Part]) -> Iterator[Part]:
    for part in parts:
        most = CHUNK if isinstance(part, Own) else WORK
        for start in range(0, part.length, most):
            yield part._replace(offset=part.offset + start, length=min(most, part.length - start))
