"""Divide small files into frames, so that frontends which are filled at the same time need the same frames.

Where a frame ends depends on the paths alone, as in content-defined chunking (Muthitacharoen et al., LBFS, 2001): if one frontend lacks
a path more or less than another, their frames differ only up to the next such end.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import TypeVar

from replicator.engine.changes.encode import is_full, room_for

T = TypeVar("T")

EVERY = 32
"""Mean number of paths in a frame: with files of 20 KB they are about as much as a frame may hold."""


def is_cut(path: bytes) -> bool:
    """Return True if a frame ends after this path, for all frontends."""
    return zlib.crc32(path) % EVERY == 0


def groups(items: Iterable[tuple[bytes, int, T]]) -> Iterator[list[T]]:
    """Yield the items in their order, in groups that fit into a frame.

    Args:
        items: path, bytes of content, and the item itself.
    """
    group: list[T] = []
    size = names = 0
    for path, length, item in items:
        if group and is_full(len(group), size + length, names):
            yield group
            group, size, names = [], 0, 0
        group.append(item)
        size += length
        names += room_for(path)
        if is_cut(path):
            yield group
            group, size, names = [], 0, 0
    if group:
        yield group
