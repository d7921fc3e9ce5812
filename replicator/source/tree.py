"""Access to the files of one source tree.

Each call opens the directories from the root's descriptor down to its path, and keeps none open: a kept descriptor of a directory that
was renamed would show the old directory under its former name. An open costs 2 us; a stale answer could cause a wrong deletion.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from replicator.core.filters import Filter
from replicator.errors import PathRefused, SourceError
from replicator.files.confined import Confined
from replicator.files.walk import entry_of, walk
from replicator.files.way import open_way
from replicator.model import (
    DIRECTORY,
    FILE,
    ROOT,
    SYMLINK,
    TEMPORARY_PREFIX,
    Entry,
    Stamp,
    Unlisted,
    admits,
    ancestors,
    check_path,
    is_temporary,
    printable,
)
from replicator.mounttable import Mount, MountTable
from replicator.ports import Identity, Seen, Snapshot, Verdict
from replicator.source.doubts import Doubts
from replicator.source.snapshot import Reader, base_of, stamp_of

MAX_SPECIALS = 1000
"""Maximum number of skipped special files and symlinks that are reported, each once."""

_ABSENT = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP))
"""Errors that mean: there is nothing at the path, or one of its parents is no directory."""


class SourceTree:
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
        on_special: called once with the path of each fifo, socket and device that is skipped.
        on_symlink: called once with the path of each symlink that is skipped.

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
        self.exposed = ""
        self.on_special: Callable[[bytes], None] = lambda _: None
        self._root = root
        self.on_symlink: Callable[[bytes], None] = lambda _: None
        self._filter = filter
        self._symlinks = symlinks
        self._multiplier = multiplier
        self._trusted = frozenset((*trusted, os.geteuid()))
        self._specials: set[bytes] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._fd = -1
        self._filesystem = 0
        self._table = MountTable()
        self._doubts = Doubts(self._mount_generation, self.mounts)
        if not must_exist:
            self.set_doubt(f"The source {printable(root)} is not open yet.")
            return
        try:
            self.reopen()
        except SourceError:
            self._table.close()
            raise
        self.set_doubt("")

    def check_root(self) -> Identity:
        """Return the identity of the root; see `ports.Source`."""
        try:
            return self._identity()
        except SourceError as error:
            self._doubts.set_root(str(error))
            raise

    def reopen(self) -> None:
        """Open the directory that the root's path names now; if it is another one, it is untrusted until `set_doubt("")`.

        Raises:
            SourceError: if there is no such directory, or it cannot be read.
        """
        try:
            opened, filesystem = self._open_root()
        except SourceError as error:
            self.set_doubt(str(error))
            raise
        with self._lock:
            if self._stopped.is_set():
                os.close(opened)
                raise SourceError(_closed(self._root))
            former, self._fd = self._fd, opened
            self._filesystem = filesystem
            if former < 0 or not os.path.sameopenfile(former, opened):
                self._doubts.set_root(
                    f"The source {printable(self._root)} is being compared with the catalog."
                )
        if former >= 0:
            os.close(former)

    def set_doubt(self, reason: str) -> None:
        """Mark the root as untrusted for a reason, so that nothing is read; an empty reason marks it as trusted.

        An untrusted root is closed until `reopen`, because a wrong volume could not be unmounted while it is open.
        """
        self._doubts.set_root(reason)
        if reason:
            self._release()

    def doubt(self, path: bytes) -> str:
        """Return why a path is untrusted; empty if it is trusted. See `ports.Source`."""
        return self._doubts.of(path)

    def duplicate_root(self) -> int:
        """Return a new descriptor of the root, which the caller must close.

        Raises:
            SourceError: if the root is not open.
            OSError: if too many files are open.
        """
        with self._lock:
            if self._fd < 0:
                closed = self._stopped.is_set()
                raise SourceError(_closed(self._root) if closed else self._doubts.of(ROOT))
            return os.dup(self._fd)

    def mounts(self) -> dict[bytes, Mount]:
        """Return the mounts below the root by path, without excluded ones; see `ports.Source`."""
        fd = self.duplicate_root()
        try:
            real = os.readlink(b"/proc/self/fd/%d" % fd)
            with self._lock:
                if self._stopped.is_set():
                    raise SourceError(_closed(self._root))
                found = self._table.below(real)
        finally:
            os.close(fd)
        return {path: mount for path, mount in found.items() if not self._is_left_out(path)}

    def forget_mounts(self) -> None:
        """Discard the cached mount table; see `ports.Source`."""
        with self._lock:
            self._table.forget()

    def set_mounts(self, believed: Mapping[bytes, Mount], reasons: Mapping[bytes, str]) -> None:
        """Set the trusted mounts, and the reasons why others are untrusted; see `ports.Source`."""
        self._doubts.set_mounts(believed, reasons)

    def stop(self) -> None:
        """Make running and later walks and snapshots raise SourceError."""
        self._stopped.set()

    def close(self) -> None:
        """Stop, and close the root; later reads fail."""
        self._stopped.set()
        with self._lock:
            self._table.close()
        self._release()

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
            self._special(path)
            return None
        if self._filter.excluded(path, entry.kind) or self._leaves_out(path, entry):
            return None
        return Seen(path, entry, stamp_of(status), status.st_nlink)

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
                    None if self._doubts.of(path) else _read_one(files, path, stamp)
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
        reason = "" if judging else self._doubts.of(below)
        if reason:
            yield Unlisted(below, reason)
            return
        with self._files() as files:
            for met in walk(
                files,
                below,
                prune=self._filter.excluded,
                special=self._special,
                closed=self._doubts.reasons,
            ):
                if self._stopped.is_set():
                    raise SourceError("The source tree was closed.")
                if isinstance(met, Unlisted):
                    yield met
                elif not self._leaves_out(met.path, met.entry):
                    yield Seen(met.path, met.entry, stamp_of(met.status), met.status.st_nlink)

    def _release(self) -> None:
        with self._lock:
            former, self._fd = self._fd, -1
        if former >= 0:
            os.close(former)

    def _open_root(self) -> tuple[int, int]:
        """Open the directory that the root's path names now; return its descriptor and the f_fsid of its file system."""
        try:
            fd, self.exposed = open_way(self._root, self._trusted)
            try:
                os.stat(b".", dir_fd=fd)  # fails without search permission, unlike the open
                return fd, os.fstatvfs(fd).f_fsid
            except OSError:
                os.close(fd)
                raise
        except (OSError, PathRefused) as error:
            raise self._unusable(error) from error

    def _identity(self) -> Identity:
        try:
            fd, self.exposed = open_way(self._root, self._trusted)
            try:
                named = os.fstat(fd)
            finally:
                os.close(fd)
            with self._files() as files:
                held = os.fstat(files.root_fd)
        except (OSError, PathRefused) as error:
            raise self._unusable(error) from error
        name = printable(self._root)
        if named.st_dev != held.st_dev:
            raise SourceError(
                f"The source {name} is on another device than before: is its volume mounted?"
            )
        if named.st_ino != held.st_ino:
            raise SourceError(f"The source {name} was replaced by another directory.")
        return Identity(held.st_dev, held.st_ino, self._filesystem)

    def _unusable(self, error: OSError | PathRefused) -> SourceError:
        name = printable(self._root)
        if isinstance(error, PathRefused):
            return SourceError(f"The source {name} is not read: {error}")
        if error.errno == errno.ENOENT:
            return SourceError(f"The source {name} is missing: is its volume mounted?")
        if error.errno == errno.ENOTDIR:
            return SourceError(f"The source {name} is not a directory.")
        return SourceError(f"The source {name} cannot be read: {error.strerror}.")

    @contextmanager
    def _files(self) -> Iterator[Confined]:
        """Provide access to the tree through a descriptor that is closed after the block."""
        files = Confined(self.duplicate_root())
        try:
            yield files
        finally:
            files.close()

    def _stat(self, path: bytes) -> tuple[os.stat_result, Entry | None] | None:
        """Return the stat result and the entry of a path (None for a special file); None if there is nothing.

        Raises:
            OSError: if a system call fails, or the path is untrusted.
        """
        if reason := self._doubts.of(path):
            raise OSError(errno.ENODEV, reason)
        with self._files() as files:
            while True:
                try:
                    status = files.lstat(path)
                    self._doubts.vet(path)
                    return status, entry_of(status, partial(_readlink, files, path))
                except OSError as error:
                    if error.errno in _ABSENT:
                        self._doubts.vet_absence(path, partial(_is_directory, files))
                        return None
                    if error.errno != errno.EINVAL:  # EINVAL: the symlink was replaced; try again
                        raise

    def _mount_generation(self) -> int:
        with self._lock:
            return -1 if self._stopped.is_set() else self._table.generation()

    def _is_left_out(self, path: bytes) -> bool:
        return any(self._filter.excluded(at, DIRECTORY) for at in (path, *ancestors(path)))

    def _open(self, path: bytes) -> int:
        check_path(path)
        if reason := self._doubts.of(path):
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

    def _leaves_out(self, path: bytes, entry: Entry) -> bool:
        """Return True for a symlink that is not replicated, and report it once."""
        if entry.kind != SYMLINK or admits(self._symlinks, path, entry.link):
            return False
        if self._is_news(path):
            self.on_symlink(path)
        return True

    def _special(self, path: bytes) -> None:
        if not self._filter.excluded(path, FILE) and self._is_news(path):
            self.on_special(path)

    def _is_news(self, path: bytes) -> bool:
        """Return True if a skipped path has not been reported yet, at most MAX_SPECIALS times."""
        with self._lock:
            if path in self._specials or len(self._specials) >= MAX_SPECIALS:
                return False
            self._specials.add(path)
        return True


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


def _closed(root: bytes) -> str:
    return f"The source {printable(root)} was closed."


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
