"""Open a root by its path, and tell whether somebody else could have changed the way to it.

A root's path is given by the operator, but the directories on it may belong to others: www-data usually owns the parent of the
uploads. The way is walked from `/` by descriptors, one name at a time. A step is safe if only trusted users can change what the
name stands for, by the rules of sshd's StrictModes; in a sticky directory, such as /tmp, the owner of the entry counts as well.
Up to the first step that is not safe, symlinks are followed; from there on, a symlink is an error.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from contextlib import suppress
from typing import AbstractSet, NamedTuple

from replicator.errors import PathRefused
from replicator.model import printable

MAX_LINKS = 40
"""Symlinks on one way: as many as the kernel follows."""

_STEP = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


_remembered: dict[int, frozenset[int]] = {}
"""The members of groups, for a process that can no longer look them up; see `remember_groups`."""


class Way(NamedTuple):
    """An open root.

    Attributes:
        fd: descriptor of the directory; the caller closes it.
        doubt: why somebody else could have changed the way to it, as a clause that names the directory; empty if nobody could.
    """

    fd: int
    doubt: str


def open_way(place: bytes, trusted: AbstractSet[int], *, unread: bool = False) -> Way:
    """Open the directory at an absolute path.

    Args:
        place: the path.
        trusted: user ids that may change the way; root is always one of them.
        unread: take a directory that may be searched but not read, too; its descriptor is good for a way further down.

    Raises:
        PathRefused: the way leads through a symlink that somebody else could have made; says who, and what to do.
        OSError: there is no such directory, or it cannot be opened.
    """
    walker = _Walker(place, trusted | {0})
    try:
        while walker.names:
            walker.step()
        return Way(_opened(walker.fd, unread=unread), walker.doubt)
    finally:
        os.close(walker.fd)


class _Walker:
    """A way that is being walked.

    Attributes:
        fd: the directory that was reached.
        names: what is still to be walked, the next one last.
        doubt: see Way.
    """

    def __init__(self, place: bytes, trusted: AbstractSet[int]) -> None:
        self.names = place.split(b"/")[::-1]
        self.doubt = ""
        self._place = place
        self._trusted = trusted
        self._links = 0
        self._at = b"/"
        self.fd = os.open(b"/", _STEP)

    def step(self) -> None:
        """Walk one name further."""
        name = self.names.pop()
        if name in (b"", b"."):
            return
        found = self._entry(name)
        try:
            status = os.fstat(found)
            self.doubt = self.doubt or self._doubt_of(status)
            if stat.S_ISLNK(status.st_mode):
                self._follow(name, os.readlink(b"", dir_fd=found))
            elif stat.S_ISDIR(status.st_mode):
                self._at = os.path.normpath(os.path.join(self._at, name))
                self.fd, found = found, self.fd
            else:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        finally:
            os.close(found)

    def _entry(self, name: bytes) -> int:
        """Return a descriptor of what a name stands for. Only O_DIRECTORY has a volume mounted that is mounted on demand."""
        try:
            return os.open(name, _STEP | os.O_DIRECTORY, dir_fd=self.fd)
        except NotADirectoryError:
            return os.open(name, _STEP, dir_fd=self.fd)

    def _follow(self, name: bytes, link: bytes) -> None:
        if self.doubt:
            symlink = printable(os.path.join(self._at, name))
            raise PathRefused(f"the symlink {symlink} is not followed, because {self.doubt}")
        self._links += 1
        if self._links > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        self.names += link.split(b"/")[::-1]
        if link.startswith(b"/"):
            os.close(self.fd)
            self.fd, self._at = os.open(b"/", _STEP), b"/"

    def _doubt_of(self, entry: os.stat_result) -> str:
        """Return who else could change the entry of the directory that was reached; empty if nobody."""
        above, at = os.fstat(self.fd), printable(self._at)
        if above.st_uid not in self._trusted:
            return f"{at} belongs to {_user(above.st_uid)}, who can replace what is in it: chown root {at}"
        if above.st_mode & stat.S_ISVTX and entry.st_uid in self._trusted:
            return ""
        if above.st_mode & stat.S_IWOTH:
            return f"everybody can replace what is in {at}: chmod o-w {at}"
        if above.st_mode & stat.S_IWGRP and not _is_private(self.fd, above.st_gid, self._trusted):
            return f"a group can replace what is in {at}: chmod g-w {at}"
        return ""


def _opened(step: int, *, unread: bool) -> int:
    try:
        return os.open(b".", _READ, dir_fd=step)
    except PermissionError:
        if not unread:
            raise
        return os.dup(step)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OSError):
        return f"user {uid}"


def remember_groups() -> None:
    """Look up the members of this process's own groups, for a process that soon cannot read /etc any more.

    Only these can be private groups of this user; what was looked up is used for as long as the process lives.
    """
    for gid in {0, os.getegid(), *os.getgroups()}:
        with suppress(KeyError, OSError):
            _remembered[gid] = _look_up_members(gid)


def _is_private(fd: int, gid: int, trusted: AbstractSet[int]) -> bool:
    """Return True if only trusted users are members of a directory's group, as of the private groups of Debian and Red Hat.

    With an access control list, the group's bits of the mode say what anybody named in the list may do.
    """
    try:
        os.getxattr(f"/proc/self/fd/{fd}", "system.posix_acl_access")
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.ENOTSUP):
            return False
    else:
        return False
    try:
        members = _remembered[gid] if gid in _remembered else _look_up_members(gid)
    except (KeyError, OSError):
        return False
    return bool(members) and members <= trusted


def _look_up_members(gid: int) -> frozenset[int]:
    """Return the users who have a group as their own or are named in it. Raises KeyError or OSError."""
    members = {user.pw_uid for user in pwd.getpwall() if user.pw_gid == gid}
    return frozenset(members | {pwd.getpwnam(name).pw_uid for name in grp.getgrgid(gid).gr_mem})
