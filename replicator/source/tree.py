"""One source tree's files.

A call walks from the root's descriptor down to its path, and holds nothing afterwards: a directory that was moved away a
moment ago is never mistaken for what its old name holds now. An open costs 2 us; a stale answer costs a wrong delete.
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
"""Special files and symlinks that are left out and remembered, each to be told once; more are not told."""

_ABSENT = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP))
"""Nothing is there, or the way there leads over something that is no directory."""


class SourceTree:
    """The files below one root; see `ports.Source`. Thread-safe.

    Args:
        root: absolute path of the directory; symlinks on the way to it are followed where only trusted users could have made them.
        filter: what the operator wants left alone.
        multiplier: the catalog's, for signatures.
        symlinks: which symlinks there are for whoever asks; see `model.admits`.
        trusted: users, beside root and the user of this process, who may change the way to the root.
        must_exist: open the root now, and raise if there is none; else it is in doubt until `reopen`.

    Attributes:
        bytes_read: of all contents, since the start.
        files_hashed: versions read whole, since the start.
        exposed: why somebody else could replace the root, as a clause; empty if nobody could.
        on_special: called once with the path of each fifo, socket and device that was met and left out.
        on_symlink: called once with the path of each symlink that was met and left out.

    Raises:
        SourceError: there is no such directory, or it cannot be read.
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
        """Return which directory the root is; see `ports.Source`."""
        try:
            return self._identity()
        except SourceError as error:
            self._doubts.set_root(str(error))
            raise

    def reopen(self) -> None:
        """Hold whatever directory the path names now; if it is another one, it is in doubt until `set_doubt`.

        Raises:
            SourceError: there is none, or it cannot be read.
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
                self._doubts.set_root(f"The source {printable(self._root)} is being judged.")
        if former >= 0:
            os.close(former)

    def set_doubt(self, reason: str) -> None:
        """Say why the root is in doubt, so that nothing is read; empty: it has been judged, and is believed.

        A root in doubt is released until `reopen`: a wrong volume in its place could not be unmounted while it is held.
        """
        self._doubts.set_root(reason)
        if reason:
            self._release()

    def doubt(self, path: bytes) -> str:
        """Return why nothing at and below a path is read now; see `ports.Source`."""
        return self._doubts.of(path)

    def duplicate_root(self) -> int:
        """Return a descriptor of the root, which the caller closes.

        Raises:
            SourceError: there is no root.
            OSError: too many files are open.
        """
        with self._lock:
            if self._fd < 0:
                closed = self._stopped.is_set()
                raise SourceError(_closed(self._root) if closed else self._doubts.of(ROOT))
            return os.dup(self._fd)

    def mounts(self) -> dict[bytes, Mount]:
        """Return what is mounted below the root and not excluded; see `ports.Source`."""
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
        """Read the mount table again when it is next asked for; see `ports.Source`."""
        with self._lock:
            self._table.forget()

    def set_mounts(self, believed: Mapping[bytes, Mount], reasons: Mapping[bytes, str]) -> None:
        """Say which mounts are believed, and why others are not; see `ports.Source`."""
        self._doubts.set_mounts(believed, reasons)

    def stop(self) -> None:
        """End what is being read; nothing is walked or read as a whole any more."""
        self._stopped.set()

    def close(self) -> None:
        """Release the root; whoever reads afterwards is told that there is none."""
        self._stopped.set()
        with self._lock:
            self._table.close()
        self._release()

    def excluded(self, path: bytes, kind: str) -> bool:
        """Return True if the operator wants a path neither sent nor deleted."""
        return self._filter.excluded(path, kind)

    def look(self, path: bytes) -> Seen | None:
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
        """Return `length` bytes at `offset` of the version with this `stamp`; None when it cannot be had any more."""
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
        """Return the content of small files; see `ports.Source`.

        One descent serves all files of a directory, which halves the cost of a file of 20 KB. A directory that is moved
        away meanwhile does no harm: the stamp tells a file from another.
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
        """Yield all that lies strictly below the directory `below`, in key order; see `ports.Source`."""
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
                    raise SourceError("The tree is not read any more.")
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
        """Return a descriptor of whatever directory the path names now, and what its file system is called."""
        try:
            fd, self.exposed = open_way(self._root, self._trusted)
            try:
                os.stat(b".", dir_fd=fd)  # may be read and yet not be entered
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
        """The tree, through a descriptor of this call alone."""
        files = Confined(self.duplicate_root())
        try:
            yield files
        finally:
            files.close()

    def _stat(self, path: bytes) -> tuple[os.stat_result, Entry | None] | None:
        """Return what is at a path; None if nothing is.

        Raises:
            OSError: the kernel does not tell, or the path is in doubt.
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
                    if error.errno != errno.EINVAL:  # a symlink was replaced before it was read
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
        """Return True for a symlink that is not replicated, and tell it."""
        if entry.kind != SYMLINK or admits(self._symlinks, path, entry.link):
            return False
        if self._is_news(path):
            self.on_symlink(path)
        return True

    def _special(self, path: bytes) -> None:
        if not self._filter.excluded(path, FILE) and self._is_news(path):
            self.on_special(path)

    def _is_news(self, path: bytes) -> bool:
        """Return True for the first time that a path is left out."""
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
    return f"The source {printable(root)} is not read any more."


def _has_name(path: bytes) -> bool:
    """Return True if a path can be replicated at all: plain, not too long or deep, none of our temporaries."""
    try:
        check_path(path)
    except PathRefused:
        return False
    return TEMPORARY_PREFIX not in path or not any(map(is_temporary, path.split(b"/")))


def _refused(error: OSError) -> Snapshot:
    if (
        error.errno in _ABSENT or error.errno == errno.ENXIO
    ):  # ENXIO: a socket, or a device without driver
        return Snapshot(verdict=Verdict.GONE)
    if error.errno == errno.EAGAIN:  # somebody (Samba) holds a write lease
        return Snapshot(verdict=Verdict.BUSY)
    return Snapshot(verdict=Verdict.FAILED, problem=error.strerror or str(error))
