"""Which directories lie above a directory: by device and inode, which two processes on one kernel see alike, whatever they call them."""

from __future__ import annotations

import os
from typing import Iterable, Sequence

Identity = tuple[int, int]
"""(device, inode)."""

MOST = 300
"""Directories on a way; more are not followed."""

_PATH = getattr(os, "O_PATH", 0o10000000) | os.O_DIRECTORY | os.O_CLOEXEC


def chain(fd: int) -> list[Identity]:
    """Return the identities of an open directory and of all above it, the directory itself first.

    Raises:
        OSError: a directory on the way cannot be searched.
    """
    at = os.dup(fd)
    try:
        found: list[Identity] = []
        while len(found) < MOST:
            status = os.fstat(at)
            if found and found[-1] == (status.st_dev, status.st_ino):
                break  # the root of what this process sees is its own parent
            found.append((status.st_dev, status.st_ino))
            above = os.open(b"..", _PATH, dir_fd=at)
            os.close(at)
            at = above
        return found
    finally:
        os.close(at)


def chain_of(place: bytes, *, exactly: bool = False) -> list[Identity]:
    """Return the same of the directory at a path, or (unless `exactly`) of the nearest one above it that exists.

    Raises:
        OSError: it cannot be reached.
    """
    while True:
        try:
            fd = os.open(place, _PATH)
        except (FileNotFoundError, NotADirectoryError):
            if exactly or place == b"/":
                raise
            place = os.path.dirname(place)
            continue
        try:
            return chain(fd)
        finally:
            os.close(fd)


def overlap(
    target: Sequence[Identity], sources: Iterable[Identity], above: Iterable[Identity]
) -> str:
    """Return how a target shares files with one of the sources; empty if it does not.

    Args:
        target: its chain.
        sources: the directories that are sources.
        above: those above them.
    """
    known = set(sources)
    if target[0] in known:
        return "is the source"
    if known.intersection(target):
        return "lies in the source"
    return "holds the source" if target[0] in set(above) else ""
