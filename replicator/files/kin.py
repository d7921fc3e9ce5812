"""Which directories lie above a directory: by device and inode, which two processes on one kernel see alike, whatever they call them."""

from __future__ import annotations

import os
from typing import AbstractSet, Iterable, NamedTuple

Identity = tuple[int, int]
"""(device, inode)."""

MOST = 300
"""Directories on a way; more are not followed."""

_PATH = getattr(os, "O_PATH", 0o10000000) | os.O_DIRECTORY | os.O_CLOEXEC


class Place(NamedTuple):
    """Where a path leads.

    Attributes:
        chain: the identities of the directory there and of all above it, the directory itself first; of the nearest one that exists.
        missing: the names below that one which do not exist; empty if the path itself does.
    """

    chain: list[Identity]
    missing: bytes = b""


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


def place_of(path: bytes) -> Place:
    """Return where a path leads, whether there is a directory or not.

    Raises:
        OSError: the way cannot be searched.
    """
    there, missing = path, b""
    while True:
        try:
            fd = os.open(there, _PATH)
        except (FileNotFoundError, NotADirectoryError):
            if there == b"/":
                raise
            there, name = os.path.split(there)
            missing = os.path.join(name, missing) if missing else name
            continue
        try:
            return Place(chain(fd), missing)
        finally:
            os.close(fd)


def overlap(
    target: Place,
    sources: AbstractSet[Identity],
    above: AbstractSet[Identity],
    missing: Iterable[tuple[int, int, bytes]],
) -> str:
    """Return how a target shares files with one of the sources, or will once both exist; empty if it does not.

    Args:
        target: where it is.
        sources: the directories that are sources.
        above: those above the sources, also above those that are missing.
        missing: of each source that is missing, the nearest directory above it, and the names below that one.
    """
    if not sources.isdisjoint(target.chain):
        is_it = target.chain[0] in sources and not target.missing
        return "is the source" if is_it else "lies in the source"
    if not target.missing:
        return "holds the source" if target.chain[0] in above else ""
    for device, inode, names in missing:
        if (device, inode) == target.chain[0]:
            if names == target.missing:
                return "is the source"
            if target.missing.startswith(names + b"/"):
                return "lies in the source"
            if names.startswith(target.missing + b"/"):
                return "holds the source"
    return ""
