"""Apply changes to the names of one tree: directories, symlinks, links, deletions and renames; files are written by `file_writer`."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from functools import partial

from replicator.agent.descriptors import digest_of, handle
from replicator.agent.file_writer import FileWriter, Owner, leaf
from replicator.agent.refusals import Refused
from replicator.agent.write_lease import WriteLease
from replicator.files.confined import Confined
from replicator.model import admits, parent
from replicator.wire import changes
from replicator.wire.changes import (
    Delete,
    Link,
    MakeDirectory,
    MakeSymlink,
    Move,
    SetAttributes,
)


class Store(FileWriter):
    """Applies changes to the files of one tree; see `FileWriter` for its arguments and attributes.

    Args:
        symlinks: which symlinks may be created; see `model.admits`.

    Attributes:
        symlinks: the argument.
    """

    def __init__(
        self,
        tree: Confined,
        owner: Owner,
        *,
        setid: bool,
        session: bytes,
        lease: WriteLease,
        symlinks: str = "all",
    ) -> None:
        super().__init__(tree, owner, setid=setid, session=session, lease=lease)
        self.symlinks = symlinks

    def make_directory(self, change: MakeDirectory) -> None:
        """Make the path a directory with these attributes; remove a file or symlink that is there."""
        above = parent(change.path)
        at, name = self.directories.changing(above), leaf(change.path)
        try:
            self.directories.widened(at, above, lambda: os.mkdir(name, 0o700, dir_fd=at))
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=at)
                os.mkdir(name, 0o700, dir_fd=at)
        made = handle(self.directories.reach(change.path))
        self._give(partial(os.chown, made))
        os.chmod(made, change.mode & self._bits)
        self.directories.ordered(change.path, change.mtime_ns)

    def make_symlink(self, change: MakeSymlink) -> None:
        """Replace what is at the path by a symlink.

        Raises:
            Refused, OSError: the path is unchanged.
        """
        if not admits(self.symlinks, change.path, change.link):
            raise Refused(changes.PATH_REFUSED, "such a symlink is not allowed here (--symlinks)")
        above = parent(change.path)
        at, name = self.directories.changing(above), self._temporary_name()
        self.directories.widened(at, above, lambda: os.symlink(change.link, name, dir_fd=at))
        try:
            self._give(partial(os.chown, name, dir_fd=at, follow_symlinks=False))
            times = (change.mtime_ns, change.mtime_ns)
            os.utime(name, ns=times, dir_fd=at, follow_symlinks=False)
            self._take_name(at, name, change.path)
        except BaseException:
            with suppress(OSError):
                os.unlink(name, dir_fd=at)
            raise

    def set_attributes(self, change: SetAttributes) -> None:
        """Change mode, owner and time of a file that already has the right content."""
        fd = self._open_base(change.path)
        try:
            status = os.fstat(fd)
            if status.st_size != change.size:
                raise Refused(changes.BASE_MISMATCH, "the file has another size")
            if change.digest and digest_of(fd, self.check_heard) != change.digest:
                raise Refused(changes.BASE_MISMATCH, "the file has other content")
            # The file system may have rounded the old time down when the file was written.
            kept = change.old_mtime_ns // self.granularity * self.granularity
            if not change.digest and status.st_mtime_ns not in (change.old_mtime_ns, kept):
                raise Refused(changes.BASE_MISMATCH, "the file has another time")
            self.lease.check()
            if status.st_nlink > 1:  # a hard link: its other names must keep their attributes
                self._put_copy(change, fd)
            else:
                self._set_attributes(fd, change)
        finally:
            os.close(fd)

    def link(self, change: Link) -> None:
        """Make the path a hard link to, or a copy of, another file of the tree.

        Raises:
            Refused: BASE_MISMATCH: the source is another file, or cannot be linked; VANISHED: the path's directory is missing.
            OSError: the source's directory cannot be reached, or writing failed.
        """
        if change.copy:
            self._copy(change)
            return
        from_fd = os.dup(self.directories.reach(parent(change.source)))
        try:
            at, name = self.directories.changing(parent(change.path)), self._temporary_name()
            try:
                os.link(
                    leaf(change.source), name,
                    src_dir_fd=from_fd, dst_dir_fd=at, follow_symlinks=False,
                )  # fmt: skip
            except OSError as error:
                raise Refused(changes.BASE_MISMATCH, error.strerror or "") from error
        finally:
            os.close(from_fd)
        try:
            self._check(change, os.stat(name, dir_fd=at, follow_symlinks=False))
            self._take_name(at, name, change.path)
        finally:
            with suppress(
                OSError
            ):  # rename() onto a hard link to the same file leaves the temporary in place
                os.unlink(name, dir_fd=at)

    def delete(self, change: Delete) -> None:
        """Remove a file, a symlink or an empty directory; do nothing if the path does not exist.

        Raises:
            OSError: ENOTEMPTY for a directory that is not empty, and others.
        """
        above = parent(change.path)
        try:
            at, name = self.directories.reach(above), leaf(change.path)
            status = self.directories.widened(
                at, above, lambda: os.stat(name, dir_fd=at, follow_symlinks=False)
            )
        except (FileNotFoundError, NotADirectoryError):
            return
        at = self.directories.changing(above)
        if stat.S_ISDIR(status.st_mode):
            self.directories.widened(at, above, lambda: os.rmdir(name, dir_fd=at))
            self.directories.forget(change.path)
        else:
            self.directories.widened(at, above, lambda: os.unlink(name, dir_fd=at))

    def move(self, change: Move) -> None:
        """Rename a path, together with everything below it.

        Raises:
            Refused: PATH_REFUSED: a relative symlink in it could lead out of the tree from a directory further up; VANISHED: the
                directory of one of the paths is missing.
            OSError: ENOENT if the path does not exist, ENOTEMPTY and others if the target is in the way.
        """
        if self.symlinks == "inside" and change.target.count(b"/") < change.path.count(b"/"):
            raise Refused(changes.PATH_REFUSED, "symlinks may not be moved up (--symlinks)")
        from_fd = os.dup(self.directories.changing(parent(change.path)))
        try:
            to_fd = self.directories.changing(parent(change.target))
            os.rename(leaf(change.path), leaf(change.target), src_dir_fd=from_fd, dst_dir_fd=to_fd)
        finally:
            os.close(from_fd)
        self.directories.moved(change.path, change.target)

    def settle(self) -> None:
        """Restore the times and modes of directories in which names have changed; see `Directories.settle`."""
        self.directories.settle()

    def _open_base(self, path: bytes) -> int:
        """Open the file that a change builds on, and return its descriptor; the caller closes it.

        Raises:
            Refused: BASE_MISMATCH: it cannot be opened.
        """
        try:
            return self.tree.open_file(path)
        except OSError as error:
            raise Refused(changes.BASE_MISMATCH, error.strerror or "") from error

    def _check(self, change: Link, status: os.stat_result) -> None:
        found = stat.S_IMODE(status.st_mode), status.st_size, status.st_mtime_ns
        wanted = change.mode & self._bits, change.size, change.mtime_ns
        if not stat.S_ISREG(status.st_mode) or found != wanted:
            raise Refused(changes.BASE_MISMATCH, "the source is not the file that was announced")

    def _copy(self, change: Link) -> None:
        fd = self._open_base(change.source)
        try:
            self._check(change, os.fstat(fd))
            self._put_copy(change, fd)
        finally:
            os.close(fd)
