"""How small files are cut into frames, so that frontends which are filled side by side want the same frames.

A cut depends on the paths themselves, as in content-defined chunking (Muthitacharoen et al., LBFS, 2001): wherever one frontend
happens to be owed a path more or less, it soon comes to a cut that the others have made too.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import TypeVar

from replicator.engine.changes.encode import is_full, room_for

T = TypeVar("T")

EVERY = 32
"""Paths between two cuts, on average: with files of 20 KB about as much as a frame holds anyway."""


def is_cut(path: bytes) -> bool:
    """Return True if a frame ends after this path, whoever it is for."""
    return zlib.crc32(path) % EVERY == 0


def groups(items: Iterable[tuple[bytes, int, T]]) -> Iterator[list[T]]:
    """Yield the items, in their order, as groups that fit a frame.

    Args:
        items: (path, bytes of content, anything).
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
