"""Change the files of one tree so that a reader sees either the old version or the new one.

New content is written to a temporary dot-file in the target's directory, gets its mode, owner and time, and replaces the target
in one rename. The agent holds a flock on each temporary, so that another agent can tell a stale one (not locked) from one in use
without relying on clocks or process ids.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from contextlib import suppress
from functools import partial
from typing import Callable, NamedTuple, Union

from replicator.agent.descriptors import digest_of, handle, write_all
from replicator.agent.directories import Directories
from replicator.agent.granularity import granularity_at
from replicator.agent.refusals import Refused
from replicator.agent.write_lease import WriteLease
from replicator.files.confined import Confined
from replicator.model import TEMPORARY_PREFIX, TEMPORARY_SUFFIX, admits, parent
from replicator.wire import changes
from replicator.wire.changes import (
    Delete,
    Link,
    MakeDirectory,
    MakeSymlink,
    Move,
    PutFile,
    SetAttributes,
)

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PLAIN_BITS = 0o1777

COPY = 1 << 20
"""Bytes copied at once."""

Content = Union[PutFile, SetAttributes, Link]
"""A change that sets the mode and time of a file."""


class Owner(NamedTuple):
    """Numeric owner of what the agent creates; -1: the agent's own user or group."""

    uid: int = -1
    gid: int = -1


class Temporary(NamedTuple):
    """A temporary file in its target's directory.

    Attributes:
        fd: open for writing.
        at: descriptor of the directory, which the caller of `begin` keeps open.
        name: name in that directory.
    """

    fd: int
    at: int
    name: bytes


class Store:
    """Applies changes to the files of one tree.

    Args:
        tree: the root.
        owner: owner of what is created.
        setid: whether to keep setuid and setgid bits.
        session: a name for this agent, unique on the host, for the names of temporaries.
        claim: says whether this agent may change the tree.
        symlinks: which symlinks may be created; see `model.admits`.

    Attributes:
        check_heard: called for each MiB of a file that is read, copied or patched; raises HungUp or Fenced if no backend waits for the
            answer any more.
        directories: opens the directories in which names change.
        granularity: nanoseconds to which the root's file system rounds modification times down.
    """

    def __init__(
        self,
        tree: Confined,
        owner: Owner,
        *,
        setid: bool,
        session: bytes,
        claim: WriteLease,
        symlinks: str = "all",
    ) -> None:
        self.tree = tree
        self._symlinks = symlinks
        self.check_heard: Callable[[], None] = lambda: None
        self.claim = claim
        self.directories = Directories(tree, claim)
        self.owner = owner
        self._bits = 0o7777 if setid else _PLAIN_BITS
        self._session = session
        self._count = 0
        self.granularity = granularity_at(tree.root_fd, self._temporary_name())

    def put(self, change: PutFile, content: memoryview) -> None:
        """Replace what is at the path by a file with this content.

        Raises:
            Refused, OSError: the path is unchanged.
        """
        if hashlib.sha256(content).digest() != change.digest:
            raise Refused(changes.DIGEST_MISMATCH)
        temporary = self.begin(change.path, self.directories.changing(parent(change.path)))
        try:
            write_all(temporary.fd, content)
            self.publish(change, temporary)
        except BaseException:
            self.discard(temporary)
            raise

    def begin(self, path: bytes, at: int) -> Temporary:
        """Create a temporary file for `path` in its directory, open as `at`.

        The caller ends it with `publish` or `discard`, and keeps `at` open until then.
        """
        name = self._temporary_name()
        fd = self.directories.widened(
            at, parent(path), lambda: os.open(name, _CREATE, 0o600, dir_fd=at)
        )
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return Temporary(fd, at, name)

    def publish(self, change: Content, temporary: Temporary) -> None:
        """Set the attributes of a complete temporary, rename it to its target, and close it.

        The caller must have called `claim.check` immediately before.
        """
        fd, at, name = temporary
        self._set_attributes(fd, change)
        self._take_name(at, name, change.path)
        os.close(fd)

    def discard(self, temporary: Temporary) -> None:
        """Remove a temporary that will not be published."""
        with suppress(OSError):
            os.unlink(temporary.name, dir_fd=temporary.at)
        os.close(temporary.fd)

    def make_directory(self, change: MakeDirectory) -> None:
        """Make the path a directory with these attributes; remove a file or symlink that is there."""
        above = parent(change.path)
        at, name = self.directories.changing(above), _leaf(change.path)
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
        if not admits(self._symlinks, change.path, change.link):
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
            self.claim.check()
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
                    _leaf(change.source), name,
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
            at, name = self.directories.reach(above), _leaf(change.path)
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
        if self._symlinks == "inside" and change.target.count(b"/") < change.path.count(b"/"):
            raise Refused(changes.PATH_REFUSED, "symlinks may not be moved up (--symlinks)")
        from_fd = os.dup(self.directories.changing(parent(change.path)))
        try:
            to_fd = self.directories.changing(parent(change.target))
            os.rename(
                _leaf(change.path), _leaf(change.target), src_dir_fd=from_fd, dst_dir_fd=to_fd
            )
        finally:
            os.close(from_fd)
        self.directories.moved(change.path, change.target)

    def settle(self) -> None:
        """Restore the times and modes of directories in which names have changed; see `Directories.settle`."""
        self.directories.settle()

    def _give(self, chown: Callable[[int, int], None]) -> None:
        """Set the owner, if there is one, by calling `chown(uid, gid)`.

        Raises:
            Refused: DENIED: the agent's user may not do that.
        """
        if self.owner.uid < 0 and self.owner.gid < 0:
            return
        try:
            chown(*self.owner)
        except PermissionError as error:
            uid, gid = self.owner
            detail = f"cannot be given to {uid}:{gid}: {error.strerror}"
            raise Refused(changes.DENIED, detail) from error

    def _open_base(self, path: bytes) -> int:
        """Open the file that a change builds on, and return its descriptor; the caller closes it.

        Raises:
            Refused: BASE_MISMATCH: it cannot be opened.
        """
        try:
            return self.tree.open_file(path)
        except OSError as error:
            raise Refused(changes.BASE_MISMATCH, error.strerror or "") from error

    def _set_attributes(self, fd: int, change: Content) -> None:
        self._give(partial(os.fchown, fd))
        os.fchmod(fd, change.mode & self._bits)  # after fchown, which clears setid bits
        os.utime(fd, ns=(change.mtime_ns, change.mtime_ns))

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

    def _put_copy(self, change: Union[Link, SetAttributes], fd: int) -> None:
        """Replace what is at the path by a new file with the content of the one open as `fd`."""
        temporary = self.begin(change.path, self.directories.changing(parent(change.path)))
        try:
            offset = 0
            while piece := os.pread(fd, COPY, offset):
                self.check_heard()
                write_all(temporary.fd, memoryview(piece))
                offset += len(piece)
            self.claim.check()  # copying may have taken long
            self.publish(change, temporary)
        except BaseException:
            self.discard(temporary)
            raise

    def _take_name(self, at: int, temporary: bytes, path: bytes) -> None:
        name = _leaf(path)
        self.claim.take_over()  # check again: a newer agent may have started while the content was written
        try:
            os.rename(temporary, name, src_dir_fd=at, dst_dir_fd=at)
        except IsADirectoryError:
            os.rmdir(name, dir_fd=at)
            self.directories.forget(path)
            os.rename(temporary, name, src_dir_fd=at, dst_dir_fd=at)

    def _temporary_name(self) -> bytes:
        self._count += 1
        return b"%s%s-%d%s" % (TEMPORARY_PREFIX, self._session, self._count, TEMPORARY_SUFFIX)


def _leaf(path: bytes) -> bytes:
    return path.rpartition(b"/")[2]
