"""Write what was changed to the disk, for trees whose changes are answered only then."""

from __future__ import annotations

import errno
import os

try:
    import ctypes
except ImportError:  # a Python in pieces
    ctypes = None  # type: ignore[assignment]


def sync(fd: int) -> None:
    """Write out the file system of a directory, names included, and return when the disk has it.

    Raises:
        OSError: the disk did not take all of it.
    """
    if ctypes is not None:
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            result = libc.syncfs(fd)
        except AttributeError:  # a C library without it
            result = -1
        else:
            number = ctypes.get_errno()
            if result < 0 and number != errno.EBADF:  # which is a root that may only be searched
                raise OSError(number, os.strerror(number))
        if result == 0:
            return
    os.sync()
