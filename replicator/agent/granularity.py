"""Find out how exactly a file system keeps modification times."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from replicator.agent.descriptors import keeping_time
from replicator.wire.messages import GRANULARITIES

PROBE = 1_700_000_001_999_999_999
"""Nanoseconds since the epoch: an odd second, and not a multiple of any granularity but 1 ns."""


def granularity_at(root_fd: int, name: bytes) -> int:
    """Return the nanoseconds to which modification times are rounded down below a root; 1 if that cannot be found out.

    Args:
        root_fd: the root.
        name: of a temporary, for file systems that have no files without a name.
    """
    try:
        kept = _kept(root_fd, name)
    except OSError:  # read-only, full, or not ours to write to
        return 1
    return next((each for each in GRANULARITIES if PROBE // each * each == kept), 1)


def _kept(root_fd: int, name: bytes) -> int:
    """Give a new file the time PROBE; return the time that it has then."""
    try:  # no name: nobody sees it, and nobody has to remove it
        return _probe(
            os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=root_fd)
        )
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT):
            raise
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with keeping_time(root_fd):
        fd = os.open(name, flags, 0o600, dir_fd=root_fd)
        try:
            return _probe(fd)
        finally:
            with suppress(OSError):
                os.unlink(name, dir_fd=root_fd)


def _probe(fd: int) -> int:
    try:
        os.utime(fd, ns=(PROBE, PROBE))
        return os.fstat(fd).st_mtime_ns
    finally:
        os.close(fd)
