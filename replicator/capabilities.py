"""Capabilities of the process (capabilities(7))."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_VERSION = 0x20080522
"""Numbers of linux/prctl.h and linux/capability.h."""


def keep_from_children() -> None:
    """Clear the ambient and inheritable capabilities: this process keeps what it has, programs that it starts do not get it.

    The sets belong to a thread, so call this before others are started. The systemd unit forbids capset(2); there the inheritable set
    stays, which has no effect because of NoNewPrivileges.
    """
    with suppress(
        OSError, AttributeError
    ):  # no C library that can be called, or without these functions
        libc = ctypes.CDLL(None)
        numbers = (_PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
        libc.prctl(_PR_CAP_AMBIENT, *map(ctypes.c_ulong, numbers))
        header = (ctypes.c_uint32 * 2)(_VERSION, 0)
        sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then their upper halves
        if libc.capget(header, sets) == 0:
            sets[2] = sets[5] = 0
            libc.capset(header, sets)
