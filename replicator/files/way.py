"""Open a root by its path, and find out whether an untrusted user could redirect that path.

The operator chooses the path of a root, but directories on it may belong to others: www-data usually owns the parent of the uploads.
The path is opened from `/`, one name at a time, each relative to the descriptor of its directory. A name is safe if only trusted
users can replace what it refers to, by the rules of sshd's StrictModes; in a sticky directory, such as /tmp, the owner of the entry
counts as well. Symlinks are followed up to the first name that is not safe; from there on, a symlink is an error.
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
"""Symlinks followed on one path: as many as the kernel follows."""

_STEP = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


_remembered: dict[int, frozenset[int]] = {}
"""User ids of the members of groups, for a process that can no longer look them up; see `remember_groups`."""


class Way(NamedTuple):
    """An open root.

    Attributes:
        fd: descriptor of the directory; the caller closes it.
        doubt: clause that names the first directory on the path in which an untrusted user could replace a name, and the remedy; empty if
            there is none.
    """

    fd: int
    doubt: str


def open_way(place: bytes, trusted: AbstractSet[int], *, unread: bool = False) -> Way:
    """Open the directory at an absolute path.

    Args:
        place: the path.
        trusted: user ids that may change the path; root is always one of them.
        unread: also accept a directory that may be searched but not read; its descriptor only serves to reach what is below it.

    Raises:
        PathRefused: the path leads through a symlink that an untrusted user could have created; the text says who, and what to do.
        OSError: the directory does not exist or cannot be opened.
    """
    walker = _Walker(place, trusted | {0})
    try:
        while walker.names:
            walker.step()
        return Way(_opened(walker.fd, unread=unread), walker.doubt)
    finally:
        os.close(walker.fd)


class _Walker:
    """Resolves a path, one name at a time.

    Attributes:
        fd: descriptor of the directory reached so far.
        names: the remaining names, the next one last.
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
        """Resolve the next name."""
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
        """Return an O_PATH descriptor of what a name refers to. Without O_DIRECTORY, the kernel would not trigger an automount."""
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
        """Return who else could replace `entry` in the directory reached so far, as a clause; empty if nobody could."""
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
    """Look up the members of this process's own groups now: once the sandbox is in force, the process cannot read /etc.

    Only these groups can be private groups of this user. The result is used until the process ends.
    """
    for gid in {0, os.getegid(), *os.getgroups()}:
        with suppress(KeyError, OSError):
            _remembered[gid] = _look_up_members(gid)


def _is_private(fd: int, gid: int, trusted: AbstractSet[int]) -> bool:
    """Return True if all members of a directory's group are trusted, as in the private groups of Debian and Red Hat.

    Return False if the directory has an access control list, because then the mode's group bits apply to everybody named in the list.
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
    """Return the user ids of accounts whose primary group this is, or that are listed in it. Raises KeyError or OSError."""
    members = {user.pw_uid for user in pwd.getpwall() if user.pw_gid == gid}
    return frozenset(members | {pwd.getpwnam(name).pw_uid for name in grp.getgrgid(gid).gr_mem})
