"""Create changes, each with a number that no other change of this process has."""

from __future__ import annotations

import itertools

from replicator.model import DIRECTORY, SYMLINK, Entry
from replicator.wire.changes import (
    Delete,
    Link,
    MakeDirectory,
    MakeSymlink,
    Move,
    PutFile,
    SetAttributes,
)

_numbers = itertools.count(1)


def next_number() -> int:
    """Return a number that no other change of this process has."""
    return next(_numbers)


def put_change(number: int, tree: int, path: bytes, entry: Entry) -> PutFile:
    """Return the change that writes a file with this content."""
    return PutFile(number, tree, path, entry.mode, entry.size, entry.mtime_ns, entry.digest)


def change_for(tree: int, path: bytes, entry: Entry) -> PutFile | MakeDirectory | MakeSymlink:
    """Return the change that makes a path equal to an entry, whatever the frontend has there."""
    number = next_number()
    if entry.kind == DIRECTORY:
        return MakeDirectory(number, tree, path, entry.mode, entry.mtime_ns)
    if entry.kind == SYMLINK:
        return MakeSymlink(number, tree, path, entry.mtime_ns, entry.link)
    return put_change(number, tree, path, entry)


def attributes_change(tree: int, path: bytes, entry: Entry, *, content: bool) -> SetAttributes:
    """Return the change that sets the attributes of a file and keeps its content.

    Args:
        tree: the tree.
        path: the file.
        entry: the wanted state.
        content: True if the frontend must compare digests first; False if its size and time are known to be right.
    """
    digest = entry.digest if content else b""
    return SetAttributes(
        next_number(), tree, path, entry.mode, entry.size, entry.mtime_ns, entry.mtime_ns, digest
    )


def link_change(tree: int, path: bytes, entry: Entry, origin: bytes, *, copy: bool) -> Link:
    """Return the change that makes a path a hard link to another file of the frontend, or a copy of it."""
    return Link(next_number(), tree, path, entry.mode, entry.size, entry.mtime_ns, origin, copy)


def delete_change(tree: int, path: bytes) -> Delete:
    """Return the change that deletes a path."""
    return Delete(next_number(), tree, path)


def move_change(tree: int, source: bytes, target: bytes) -> Move:
    """Return the change that renames a path."""
    return Move(next_number(), tree, source, target)
