"""Find out whether a target shares files with a source on the same machine.

Directories are identified by device and inode, which are the same for two processes on one kernel, even if they see the directories
under different paths.
"""

from __future__ import annotations

import os
from typing import AbstractSet, Iterable, NamedTuple

Identity = tuple[int, int]
"""(device, inode)."""

MOST = 300
"""Directories examined from a place up to the root; those above are ignored."""

_PATH = getattr(os, "O_PATH", 0o10000000) | os.O_DIRECTORY | os.O_CLOEXEC


class Place(NamedTuple):
    """Where a path leads.

    Attributes:
        chain: identities of the nearest directory on the path that exists, and of all directories above it, in that order.
        missing: the names below that directory, which do not exist; empty if the path exists.
    """

    chain: list[Identity]
    missing: bytes = b""


def chain(fd: int) -> list[Identity]:
    """Return the identities of an open directory and of all directories above it, in that order.

    Raises:
        OSError: one of the directories cannot be searched.
    """
    at = os.dup(fd)
    try:
        found: list[Identity] = []
        while len(found) < MOST:
            status = os.fstat(at)
            if found and found[-1] == (status.st_dev, status.st_ino):
                break  # the root directory is its own parent
            found.append((status.st_dev, status.st_ino))
            above = os.open(b"..", _PATH, dir_fd=at)
            os.close(at)
            at = above
        return found
    finally:
        os.close(at)


def place_of(path: bytes) -> Place:
    """Return where a path leads, whether or not it exists.

    Raises:
        OSError: a directory on the path cannot be searched.
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
    """Return how a target shares files with one of the sources, or will once both exist, as a clause; empty if it does not.

    Args:
        target: place of the target.
        sources: identities of the source directories.
        above: identities of the directories above the sources, missing ones included.
        missing: (device, inode, names) for each source that does not exist: the nearest directory above it, and the names below that.
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
