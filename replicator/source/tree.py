"""Access to the files of one source tree.

Each call opens the directories from the root's descriptor down to its path, and keeps none open: a kept descriptor of a directory that
was renamed would show the old directory under its former name. An open costs 2 us; a stale answer could cause a wrong deletion.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterator, Sequence
from functools import partial

from replicator.core.filters import Filter
from replicator.errors import PathRefused, SourceError
from replicator.files.confined import Confined
from replicator.files.walk import entry_of, walk
from replicator.model import (
    TEMPORARY_PREFIX,
    Entry,
    Stamp,
    Unlisted,
    check_path,
    is_temporary,
)
from replicator.ports import Seen, Snapshot, Verdict
from replicator.source.left_out import LeftOut
from replicator.source.root import SourceRoot
from replicator.source.snapshot import Reader, base_of, stamp_of

_ABSENT = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP))
"""Errors that mean: there is nothing at the path, or one of its parents is no directory."""


class SourceTree(SourceRoot):
    """The files below one root; see `ports.Source`. Thread-safe.

    Args:
        root: absolute path of the directory; symlinks in it are followed if only trusted users could have created them.
        filter: the operator's excludes.
        multiplier: the catalog's multiplier, for signatures.
        symlinks: which symlinks are replicated; see `model.admits`.
        trusted: ids of users, in addition to root and the user of this process, that may change the directories above the root.
        must_exist: open the root now; otherwise it is untrusted until `reopen`.

    Attributes:
        bytes_read: bytes of content read since the start.
        files_hashed: number of versions read completely since the start.
        exposed: how an untrusted user could replace the root, as a clause; empty if none could.
        left_out: special files and symlinks that are not replicated; reports them.

    Raises:
        SourceError: if `must_exist` is set and there is no such directory, or it cannot be read.
    """

    def __init__(
        self,
        root: bytes,
        *,
        filter: Filter,  # noqa: A002  # what it is
        multiplier: int,
        symlinks: str = "all",
        trusted: Collection[int] = (),
        must_exist: bool = True,
    ) -> None:
        self.bytes_read = 0
        self.files_hashed = 0
        self.left_out = LeftOut(filter, symlinks)
        self._filter = filter
        self._multiplier = multiplier
        super().__init__(root, filter.excluded, trusted=trusted, must_exist=must_exist)

    def excluded(self, path: bytes, kind: str) -> bool:
        """Return True if the operator's patterns exclude a path."""
        return self._filter.excluded(path, kind)

    def stat(self, path: bytes) -> Seen | None:
        """Return what is at `path` now; see `ports.Source`."""
        if not _has_name(path):
            return None
        found = self._stat(path)
        if found is None:
            return None
        status, entry = found
        if entry is None:
            self.left_out.special(path)
            return None
        if self._filter.excluded(path, entry.kind) or self.left_out.symlink(path, entry):
            return None
        return Seen(path, entry, stamp_of(status), status.st_nlink)

    def why_left_out(self, path: bytes) -> str:
        """Return why what is at `path` now is not replicated; see `ports.Source`."""
        if not _has_name(path):
            return "has a name that is left out"
        found = self._stat(path)
        if found is None:
            return ""
        entry = found[1]
        if entry is None:
            return "is a special file"
        if self._filter.excluded(path, entry.kind):
            return "is excluded"
        is_symlink = self.left_out.symlink(path, entry)
        return "is a symlink that tree.symlinks leaves out" if is_symlink else ""

    def snapshot(
        self, path: bytes, base: bytes | None, *, force: bool = False, unclosed: bool = False
    ) -> Snapshot:
        """Read one version of a file in a single pass; see `ports.Source`."""
        try:
            fd = self._open(path)
            try:
                return self._take(
                    Reader(fd, self._multiplier, base_of(base), self._stopped.is_set),
                    force=force,
                    unclosed=unclosed,
                )
            finally:
                os.close(fd)
        except PathRefused:
            return Snapshot(verdict=Verdict.GONE)
        except OSError as error:
            return _refused(error)

    def read(self, path: bytes, stamp: Stamp, offset: int, length: int) -> bytes | None:
        """Return `length` bytes at `offset` of the version with this `stamp`; None if the file has changed or cannot be read."""
        try:
            fd = self._open(path)
            try:
                content = os.pread(fd, length, offset)
                same = stamp_of(os.fstat(fd)) == stamp
            finally:
                os.close(fd)
        except (OSError, PathRefused, SourceError):
            return None
        self._count(len(content), files=0)
        return content if same and len(content) == length else None

    def read_whole(self, wanted: Sequence[tuple[bytes, Stamp]]) -> list[bytes | None]:
        """Return the contents of small files; see `ports.Source`.

        Each directory is opened once for all of its files, which halves the cost of a file of 20 KB. A directory that is renamed
        during the call does no harm, because the stamp identifies each file.
        """
        try:
            with self._files() as files:
                contents = [
                    None if self._untrusted.reason_of(path) else _read_one(files, path, stamp)
                    for path, stamp in wanted
                ]
        except (OSError, SourceError):
            return [None] * len(wanted)
        self._count(sum(len(content) for content in contents if content), files=0)
        return contents

    def walk(self, below: bytes, *, judging: bool = False) -> Iterator[Seen | Unlisted]:
        """Yield everything strictly below the directory `below`, in key order; see `ports.Source`."""
        if below and not _has_name(below):
            return
        reason = "" if judging else self._untrusted.reason_of(below)
        if reason:
            yield Unlisted(below, reason)
            return
        with self._files() as files:
            for met in walk(
                files,
                below,
                prune=self._filter.excluded,
                special=self.left_out.special,
                closed=self._untrusted.reasons,
            ):
                if self._stopped.is_set():
                    raise SourceError("The source tree was closed.")
                if isinstance(met, Unlisted):
                    yield met
                elif not self.left_out.symlink(met.path, met.entry):
                    yield Seen(met.path, met.entry, stamp_of(met.status), met.status.st_nlink)

    def _stat(self, path: bytes) -> tuple[os.stat_result, Entry | None] | None:
        """Return the stat result and the entry of a path (None for a special file); None if there is nothing.

        Raises:
            OSError: if a system call fails, or the path is untrusted.
        """
        if reason := self._untrusted.reason_of(path):
            raise OSError(errno.ENODEV, reason)
        with self._files() as files:
            while True:
                try:
                    status = files.lstat(path)
                    self._untrusted.check_mount(path)
                    return status, entry_of(status, partial(_readlink, files, path))
                except OSError as error:
                    if error.errno in _ABSENT:
                        self._untrusted.check_absence(path, partial(_is_directory, files))
                        return None
                    if error.errno != errno.EINVAL:  # EINVAL: the symlink was replaced; try again
                        raise

    def _open(self, path: bytes) -> int:
        check_path(path)
        if reason := self._untrusted.reason_of(path):
            raise OSError(errno.ENODEV, reason)
        with self._files() as files:
            return files.open_file(path)

    def _take(self, reader: Reader, *, force: bool, unclosed: bool) -> Snapshot:
        try:
            taken = reader.snapshot(force=force, unclosed=unclosed)
        finally:
            self._count(reader.bytes_read, files=0)
        self._count(0, files=taken.verdict is Verdict.READ)
        return taken

    def _count(self, size: int, *, files: int) -> None:
        with self._lock:
            self.bytes_read += size
            self.files_hashed += files


def _read_one(files: Confined, path: bytes, stamp: Stamp) -> bytes | None:
    try:
        fd = files.open_file(check_path(path))
        try:
            content = os.pread(fd, stamp.size, 0)
            same = stamp_of(os.fstat(fd)) == stamp
        finally:
            os.close(fd)
    except (OSError, PathRefused):
        return None
    return content if same and len(content) == stamp.size else None


def _is_directory(files: Confined, path: bytes) -> bool:
    try:
        files.directory(path)
    except OSError as error:
        if error.errno in _ABSENT:
            return False
        raise
    return True


def _readlink(files: Confined, path: bytes) -> bytes:
    at, name = files.locate(path)
    return os.readlink(name, dir_fd=at)


def _has_name(path: bytes) -> bool:
    """Return True if a path can be replicated: well-formed, not too long or deep, and none of our temporary files."""
    try:
        check_path(path)
    except PathRefused:
        return False
    return TEMPORARY_PREFIX not in path or not any(map(is_temporary, path.split(b"/")))


def _refused(error: OSError) -> Snapshot:
    if error.errno in _ABSENT or error.errno == errno.ENXIO:  # ENXIO: socket or driverless device
        return Snapshot(verdict=Verdict.GONE)
    if error.errno == errno.EAGAIN:  # another process (Samba) holds a write lease
        return Snapshot(verdict=Verdict.BUSY)
    return Snapshot(verdict=Verdict.FAILED, problem=error.strerror or str(error))
