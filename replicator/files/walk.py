"""List a tree in key order: depth first, names sorted as bytes.

The backend and the agent both list with `walk`, so that the two listings can be compared in a single streaming merge.
Temporary files of agents are never listed; special files (FIFO, socket, device) are reported to `special` and omitted.
"""

from __future__ import annotations

import os
import stat
from typing import Callable, Iterator, Mapping, NamedTuple, Optional, Union

from replicator.files.confined import Confined
from replicator.model import (
    DIRECTORY,
    FILE,
    SYMLINK,
    Entry,
    Unlisted,
    is_temporary,
    join,
    too_deep,
)

PERMISSIONS = 0o7777

TOO_DEEP = "nested too deep"
"""Reason for not listing a directory whose content would exceed the limits of a path (see `model.too_deep`)."""

DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Met(NamedTuple):
    """One path found by a walk, with its entry and its lstat result."""

    path: bytes
    entry: Entry
    status: os.stat_result


def entry_of(status: os.stat_result, link: Callable[[], bytes]) -> Optional[Entry]:
    """Return the entry for a status; None for a special file. `link` is called to read a symlink's target."""
    mode = status.st_mode
    if stat.S_ISREG(mode):
        return Entry(FILE, mode & PERMISSIONS, status.st_size, status.st_mtime_ns)
    if stat.S_ISDIR(mode):
        return Entry(DIRECTORY, mode & PERMISSIONS, 0, status.st_mtime_ns)
    if stat.S_ISLNK(mode):
        return Entry(SYMLINK, 0, 0, status.st_mtime_ns, link())
    return None


def walk(  # noqa: PLR0913  # each is used by one caller
    tree: Confined,
    below: bytes,
    *,
    prune: Optional[Callable[[bytes, str], bool]] = None,
    passed: Optional[Callable[[bytes], bool]] = None,
    special: Optional[Callable[[bytes], None]] = None,
    temporary: Optional[Callable[[int, bytes], None]] = None,
    closed: Optional[Mapping[bytes, str]] = None,
    shallow: Optional[Callable[[bytes], bool]] = None,
) -> Iterator[Union[Met, Unlisted]]:
    """Yield everything strictly below the directory `below`, in key order.

    Args:
        tree: the root.
        below: a directory; the root is the empty path.
        prune: called with (path, kind); True omits the path and everything below it.
        passed: called with a path before its lstat; True omits the path and everything below it, without disk access.
        special: called with the path of each special file.
        temporary: called with (descriptor of its directory, name) for each temporary file of an agent.
        closed: paths that must not be accessed, with the reason; each is yielded as Unlisted.
        shallow: called with the path of each directory; True omits everything below it.
    """
    closed = closed or {}
    stack: list[Level] = []
    if too_deep(below):
        yield Unlisted(below, TOO_DEEP)
        return
    try:
        # Opened again instead of dup(): two walks at the same time must not share the read position of the directory.
        problem = push(
            stack,
            below,
            lambda: os.open(b".", DIRECTORY_FLAGS, dir_fd=tree.directory(below)),
            temporary,
        )
        if problem:
            yield Unlisted(below, problem)
        while stack:
            level = stack[-1]
            name = next(level.names, None)
            if name is None:
                os.close(stack.pop().fd)
                continue
            path = join(level.path, name)
            met = _meet(level.fd, name, path, passed, special, closed)
            if isinstance(met, Unlisted):
                yield met
                continue
            if met is None or (prune is not None and prune(path, met.entry.kind)):
                continue
            yield met
            if met.entry.kind == DIRECTORY and not (shallow is not None and shallow(path)):
                problem = descend(stack, path, name, temporary)
                if problem:
                    yield Unlisted(path, problem)
    finally:
        for level in stack:
            os.close(level.fd)


class Level:
    """An open directory between `below` and the current path, with the names that are still to be visited."""

    __slots__ = ("fd", "names", "path")

    def __init__(self, path: bytes, fd: int, names: Iterator[bytes]) -> None:
        self.path = path
        self.fd = fd
        self.names = names


def _names(fd: int, temporary: Optional[Callable[[int, bytes], None]]) -> Iterator[bytes]:
    listed: list[bytes] = []
    for name in sorted(map(os.fsencode, os.listdir(fd))):
        if not is_temporary(name):
            listed.append(name)
        elif temporary is not None:
            temporary(fd, name)
    return iter(listed)


def _meet(
    fd: int,
    name: bytes,
    path: bytes,
    passed: Optional[Callable[[bytes], bool]],
    special: Optional[Callable[[bytes], None]],
    closed: Mapping[bytes, str],
) -> Union[Met, Unlisted, None]:
    """Return what is at a name; Unlisted if its status cannot be read (another user's FUSE mount, a stale NFS mount)."""
    if passed is not None and passed(path):
        return None
    if closed and path in closed:
        return Unlisted(path, closed[path])
    try:
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        entry = entry_of(status, lambda: os.readlink(name, dir_fd=fd))
    except FileNotFoundError:  # gone since the directory was read
        return None
    except OSError as error:  # EINVAL: a symlink was replaced before it was read
        return Unlisted(path, error.strerror or str(error))
    if entry is None:
        if special is not None:
            special(path)
        return None
    return Met(path, entry, status)


def descend(
    stack: list[Level],
    path: bytes,
    name: bytes,
    temporary: Optional[Callable[[int, bytes], None]],
) -> str:
    """Open the directory `name` and push it; return the reason if that fails, otherwise an empty string."""
    if too_deep(path):
        return TOO_DEEP
    at = stack[-1].fd
    return push(stack, path, lambda: os.open(name, DIRECTORY_FLAGS, dir_fd=at), temporary)


def push(
    stack: list[Level],
    path: bytes,
    opener: Callable[[], int],
    temporary: Optional[Callable[[int, bytes], None]],
) -> str:
    """Push the directory that `opener` opens; return the reason if that fails, but an empty string if it was removed meanwhile."""
    fd = -1
    try:
        fd = opener()
        os.stat(b".", dir_fd=fd)  # fails if the directory may be read but not searched
        stack.append(Level(path, fd, _names(fd, temporary)))
    except OSError as error:
        if fd >= 0:
            os.close(fd)
        gone = isinstance(error, FileNotFoundError)  # removed since its name was read
        return "" if gone else error.strerror or str(error)
    return ""
