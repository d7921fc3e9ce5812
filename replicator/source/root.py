"""The root of a source tree: which directory it is, whether it is trusted, and what is mounted below it."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import closing

from replicator.errors import PathRefused, SourceError
from replicator.files.confined import Confined
from replicator.files.way import open_way
from replicator.model import DIRECTORY, ROOT, ancestors, printable
from replicator.mounttable import Mount, MountTable
from replicator.ports import Identity
from replicator.source.untrusted import Untrusted


class SourceRoot:
    """The root of one tree, held as an open descriptor. Thread-safe.

    Args:
        root: absolute path of the directory; symlinks in it are followed if only trusted users could have created them.
        excluded: called with (path, kind); returns True for excluded paths, whose mounts are ignored.
        trusted: ids of users, in addition to root and the user of this process, that may change the directories above the root.
        must_exist: open the root now; otherwise it is untrusted until `reopen`.

    Attributes:
        exposed: how an untrusted user could replace the root, as a clause; empty if none could.

    Raises:
        SourceError: if `must_exist` is set and there is no such directory, or it cannot be read.
    """

    def __init__(
        self,
        root: bytes,
        excluded: Callable[[bytes, str], bool],
        *,
        trusted: Collection[int] = (),
        must_exist: bool = True,
    ) -> None:
        self.exposed = ""
        self._root = root
        self._excluded = excluded
        self._trusted = frozenset((*trusted, os.geteuid()))
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._fd = -1
        self._filesystem = 0
        self._table = MountTable()
        self._untrusted = Untrusted(self._mount_generation, self.mounts)
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
            self._untrusted.set_root(str(error))
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
                self._untrusted.set_root(
                    f"The source {printable(self._root)} is being compared with the catalog."
                )
        if former >= 0:
            os.close(former)

    def set_doubt(self, reason: str) -> None:
        """Mark the root as untrusted for a reason, so that nothing is read; an empty reason marks it as trusted.

        An untrusted root is closed until `reopen`, because a wrong volume could not be unmounted while it is open.
        """
        self._untrusted.set_root(reason)
        if reason:
            self._release()

    def doubt(self, path: bytes) -> str:
        """Return why a path is untrusted; empty if it is trusted. See `ports.Source`."""
        return self._untrusted.reason_of(path)

    def duplicate_root(self) -> int:
        """Return a new descriptor of the root, which the caller must close.

        Raises:
            SourceError: if the root is not open.
            OSError: if too many files are open.
        """
        with self._lock:
            if self._fd < 0:
                closed = self._stopped.is_set()
                raise SourceError(
                    _closed(self._root) if closed else self._untrusted.reason_of(ROOT)
                )
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
        return {path: mount for path, mount in found.items() if not self._is_excluded(path)}

    def forget_mounts(self) -> None:
        """Discard the cached mount table; see `ports.Source`."""
        with self._lock:
            self._table.forget()

    def set_mounts(self, accepted: Mapping[bytes, Mount], reasons: Mapping[bytes, str]) -> None:
        """Set the trusted mounts, and the reasons why others are untrusted; see `ports.Source`."""
        self._untrusted.set_mounts(accepted, reasons)

    def stop(self) -> None:
        """Make running and later walks and snapshots raise SourceError."""
        self._stopped.set()

    def close(self) -> None:
        """Stop, and close the root; later reads fail."""
        self._stopped.set()
        with self._lock:
            self._table.close()
        self._release()

    def _files(self) -> closing[Confined]:
        """Provide access to the tree through a descriptor that is closed after the block."""
        return closing(Confined(self.duplicate_root()))

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

    def _mount_generation(self) -> int:
        with self._lock:
            return -1 if self._stopped.is_set() else self._table.generation()

    def _is_excluded(self, path: bytes) -> bool:
        return any(self._excluded(at, DIRECTORY) for at in (path, *ancestors(path)))


def _closed(root: bytes) -> str:
    return f"The source {printable(root)} was closed."
