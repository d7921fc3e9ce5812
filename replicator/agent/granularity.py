"""Measure the granularity of a file system's modification times."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from replicator.agent.descriptors import keeping_time
from replicator.wire.opening import GRANULARITIES

PROBE = 1_700_000_001_999_999_999
"""Nanoseconds since the epoch: an odd second, and not a multiple of any granularity except 1 ns."""


def granularity_at(root_fd: int, name: bytes) -> int:
    """Return the nanoseconds to which the root's file system rounds modification times down; 1 if that cannot be measured.

    Args:
        root_fd: descriptor of the root.
        name: for a temporary file, on file systems without O_TMPFILE.
    """
    try:
        kept = _kept(root_fd, name)
    except OSError:  # read-only, full, or no permission to write
        return 1
    return next((each for each in GRANULARITIES if PROBE // each * each == kept), 1)


def _kept(root_fd: int, name: bytes) -> int:
    """Set the modification time of a new file to PROBE; return the time that the file system has stored."""
    try:  # a file without a name: no reader sees it, and it need not be removed
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
