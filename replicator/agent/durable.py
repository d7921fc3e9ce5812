"""Write changes to the disk, for trees whose changes are acknowledged only after that."""

from __future__ import annotations

import errno
import os

try:
    import ctypes
except ImportError:  # an incomplete Python installation
    ctypes = None  # type: ignore[assignment]  # a Python without it


def sync(fd: int) -> None:
    """Write out the file system that holds an open directory, content and names, and return when all of it is on disk.

    Raises:
        OSError: writing failed.
    """
    if ctypes is not None:
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            result = libc.syncfs(fd)
        except AttributeError:  # a C library without syncfs()
            result = -1
        else:
            number = ctypes.get_errno()
            if result < 0 and number != errno.EBADF:  # EBADF: the root was opened with O_PATH
                raise OSError(number, os.strerror(number))
        if result == 0:
            return
    os.sync()
