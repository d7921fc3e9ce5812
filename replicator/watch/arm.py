"""Add watches to directories. A directory is watched before it is listed, so that no new name is missed between the two.

One operation, `arm`, corrects the watches at and below a path, whatever they were: new directories get a watch, renamed ones keep
theirs under the new name, removed ones are detached. It is used at the start, for new and renamed directories, after a queue
overflow, and to retry directories that could not be watched. Every directory is opened without following symlinks and watched through
its descriptor, so that the watch and the listing belong to the same directory.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Protocol

from replicator.files.confined import Confined
from replicator.model import DIRECTORY, ROOT, is_temporary, is_within, join, parent, too_deep
from replicator.watch.watchmap import WatchMap

_GONE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP))
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

MOST_UNWATCHED = 1000
"""Maximum number of unwatched subtrees that are recorded separately; beyond it, the whole tree counts as unwatched."""


LISTED = 500
"""Names of a directory that are listed, 2 us each, before `arm` yields."""


@dataclass
class Unwatched:
    """A directory that cannot be watched, with everything below it.

    Attributes:
        error: why; an errno.
        directories: number of directories at and below it.
    """

    error: int
    directories: int = 0


class _Listing(Protocol):
    """The iterator that os.scandir returns."""

    def __iter__(self) -> Iterator[os.DirEntry[str]]: ...

    def close(self) -> None: ...


@dataclass
class _Level:
    path: bytes
    fd: int
    wd: int | None
    above: Unwatched | None
    listing: _Listing | None
    names: list[bytes] = field(default_factory=list)


class Armer:
    """Adds the watches of one tree.

    Args:
        tree: the tree's files.
        watched: map of watch descriptors to directories; `arm` updates it.
        prune: called with (path, kind); returns True for excluded paths.
        add: adds a watch to an open directory and returns the watch descriptor, or raises OSError.

    Attributes:
        unwatched: directories that could not be watched, by path; none lies below another.
    """

    def __init__(
        self,
        tree: Confined,
        watched: WatchMap,
        prune: Callable[[bytes, str], bool],
        add: Callable[[int], int],
    ) -> None:
        self._tree = tree
        self._watched = watched
        self._prune = prune
        self._add = add
        self.unwatched: dict[bytes, Unwatched] = {}

    def arm(self, path: bytes, found: list[bytes]) -> Iterator[None]:
        """Watch the directory `path` and everything below it. Yields after each directory, and after LISTED names of a large one.

        Args:
            path: the path; nothing happens if it is no directory.
            found: `path` is appended if it is a directory.
        """
        stack: list[_Level] = []
        self._tree.forget_all()  # directories that are held open may have been renamed
        try:
            for stale in [p for p in self.unwatched if is_within(p, path)]:
                del self.unwatched[stale]
            if self._enter(stack, path, lambda: os.dup(self._tree.directory(path)), None):
                found.append(path)
            while stack:
                yield
                level = stack[-1]
                if level.listing is not None:
                    self._list(level, level.listing)
                elif level.names:
                    self._descend(stack, level, level.names.pop())
                else:
                    os.close(stack.pop().fd)
        finally:
            self._tree.forget_all()
            for level in stack:
                if level.listing is not None:
                    level.listing.close()
                os.close(level.fd)

    def _descend(self, stack: list[_Level], level: _Level, name: bytes) -> None:
        path = join(level.path, name)
        if level.above is not None:
            level.above.directories += 1
        if not too_deep(level.path):
            opener = partial(os.open, name, _OPEN, dir_fd=level.fd)
            self._enter(stack, path, opener, level)

    def _enter(
        self, stack: list[_Level], path: bytes, opener: Callable[[], int], under: _Level | None
    ) -> bool:
        """Watch one directory and push it on the stack; return False if it does not exist, or is no directory any more."""
        fd = -1
        wd = None
        above = under.above if under is not None else None
        try:
            fd = opener()
            if above is None:
                wd, above = self._watch(fd, path, under)
            stack.append(_Level(path, fd, wd, above, os.scandir(fd)))
        except OSError as error:
            if fd >= 0:
                os.close(fd)
            if error.errno in _GONE:
                self._leave(path)
                return False
            if above is None:
                self._note(path, error)
            return True
        return True

    def _watch(
        self, fd: int, path: bytes, under: _Level | None
    ) -> tuple[int | None, Unwatched | None]:
        """Add a watch to one directory; return the watch descriptor, or the record of why it has none.

        Raises:
            OSError: ENOENT, ENOTDIR or ELOOP if there is no such directory.
        """
        at = under.wd if under is not None else self._watched.wd_of(parent(path))
        if path and (at is None or at not in self._watched):
            # The parent was renamed, and its event has not been read yet. That event causes another call of `arm`.
            raise FileNotFoundError(errno.ENOENT, "moved on", path)
        try:
            wd = self._add(fd)
        except OSError as error:
            if error.errno in _GONE:
                raise
            return None, self._note(path, error)
        if at is None or not path:
            self._watched.place_root(wd)
        else:
            self._watched.place(wd, at, path.rpartition(b"/")[2])
        return wd, None

    def _note(self, path: bytes, error: OSError) -> Unwatched:
        """Record a directory as unwatched; after MOST_UNWATCHED, the root in its place, so that the whole tree is scanned."""
        where = path if len(self.unwatched) < MOST_UNWATCHED else ROOT
        noted = self.unwatched.setdefault(where, Unwatched(error.errno or 0))
        noted.directories += 1
        return noted

    def _list(self, level: _Level, listing: _Listing) -> None:
        """List the next LISTED names of a directory; after the last, detach watched subdirectories that no longer exist."""
        try:
            entries = list(islice(listing, LISTED))
            names = [os.fsencode(e.name) for e in entries if e.is_dir(follow_symlinks=False)]
        except OSError as error:
            level.listing = None
            if error.errno in _GONE:
                self._leave(level.path)
            elif level.above is None:
                level.above = self._note(level.path, error)
            return
        level.names += [
            name
            for name in names
            if not is_temporary(name) and not self._prune(join(level.path, name), DIRECTORY)
        ]
        if len(entries) < LISTED:
            level.listing = None
            self._sweep(level)

    def _sweep(self, level: _Level) -> None:
        """Detach watched subdirectories that the listing does not contain."""
        there = set(level.names)
        watched = self._watched.children(level.wd) if level.wd is not None else {}
        for name in watched.keys() - there:
            self._watched.detach(watched[name])

    def _leave(self, path: bytes) -> None:
        wd = self._watched.wd_of(path)
        if wd is not None:
            self._watched.detach(wd)
