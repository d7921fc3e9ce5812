"""Write the files of one tree so that a reader sees either the old version or the new one.

New content is written to a temporary dot-file in the target's directory, gets its mode, owner and time, and replaces the target
in one rename. The agent holds a flock on each temporary, so that another agent can tell a stale one (not locked) from one in use
without relying on clocks or process ids.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import suppress
from functools import partial
from typing import Callable, NamedTuple, Union

from replicator.agent.descriptors import write_all
from replicator.agent.directories import Directories
from replicator.agent.granularity import granularity_at
from replicator.agent.refusals import Refused
from replicator.agent.write_lease import WriteLease
from replicator.files.confined import Confined
from replicator.model import TEMPORARY_PREFIX, TEMPORARY_SUFFIX, parent
from replicator.wire import changes
from replicator.wire.changes import Link, PutFile, SetAttributes

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


class FileWriter:
    """Writes and replaces the files of one tree.

    Args:
        tree: the root.
        owner: owner of what is created.
        setid: whether to keep setuid and setgid bits.
        session: a name for this agent, unique on the host, for the names of temporaries.
        lease: says whether this agent may change the tree.

    Attributes:
        check_heard: called for each MiB of a file that is read, copied or patched; raises HungUp or Fenced if no backend waits for the
            answer any more.
        directories: opens the directories in which names change.
        granularity: nanoseconds to which the root's file system rounds modification times down.
        setid: the argument.
    """

    def __init__(
        self,
        tree: Confined,
        owner: Owner,
        *,
        setid: bool,
        session: bytes,
        lease: WriteLease,
    ) -> None:
        self.tree = tree
        self.check_heard: Callable[[], None] = lambda: None
        self.lease = lease
        self.directories = Directories(tree, lease)
        self.owner = owner
        self.setid = setid
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

        The caller must have called `lease.check` since it last did something that takes long.
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

    def _put_copy(self, change: Union[Link, SetAttributes], fd: int) -> None:
        """Replace what is at the path by a new file with the content of the one open as `fd`."""
        temporary = self.begin(change.path, self.directories.changing(parent(change.path)))
        try:
            offset = 0
            while piece := os.pread(fd, COPY, offset):
                self.check_heard()
                write_all(temporary.fd, memoryview(piece))
                offset += len(piece)
            self.lease.check()  # copying may have taken long
            self.publish(change, temporary)
        except BaseException:
            self.discard(temporary)
            raise

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

    def _set_attributes(self, fd: int, change: Content) -> None:
        self._give(partial(os.fchown, fd))
        os.fchmod(fd, change.mode & self._bits)  # after fchown, which clears setid bits
        os.utime(fd, ns=(change.mtime_ns, change.mtime_ns))

    def _take_name(self, at: int, temporary: bytes, path: bytes) -> None:
        name = leaf(path)
        self.lease.take_over()  # check again: a newer agent may have started while the content was written
        try:
            os.rename(temporary, name, src_dir_fd=at, dst_dir_fd=at)
        except IsADirectoryError:
            os.rmdir(name, dir_fd=at)
            self.directories.forget(path)
            os.rename(temporary, name, src_dir_fd=at, dst_dir_fd=at)

    def _temporary_name(self) -> bytes:
        self._count += 1
        return b"%s%s-%d%s" % (TEMPORARY_PREFIX, self._session, self._count, TEMPORARY_SUFFIX)


def leaf(path: bytes) -> bytes:
    """Return the last component of a path."""
    return path.rpartition(b"/")[2]
