"""Restrict the agent's process before it reads the first byte from the backend, and report what was restricted.

Each restriction is optional: where the kernel lacks one, or Python has no ctypes, the agent runs without it and reports that.
A restricted agent must still be able to replace, rename, chmod and touch anything below its root, import Python's own modules,
start the thread that hashes, and fork the second process of a restore, which has the same restrictions.

Not limited: the number of processes, because the kernel counts all of the user's, and Landlock leaves nothing that could be
executed. Landlock does not restrict chmod, chown and utime; the agent applies those to descriptors opened below the root.
"""

from __future__ import annotations

import codecs
import os
import struct
from contextlib import suppress
from typing import Callable, Optional

try:
    import ctypes
    import resource
except ImportError:  # an incomplete Python installation
    ctypes = None  # type: ignore[assignment]  # a Python without it
    resource = None  # type: ignore[assignment]  # a Python without it

Call = Callable[..., int]
"""A function of the C library."""

MAX_MEMORY = 1 << 30
"""Bytes of data (RLIMIT_DATA): twenty times what an agent takes for the worst input that fits into frames."""

MAX_DESCRIPTORS = 4096
"""Open descriptors: each of 1,024 trees may hold its root, and one batch 128 directories of each tree that it changes."""

_LIMITS = (("RLIMIT_CORE", 0), ("RLIMIT_NOFILE", MAX_DESCRIPTORS), ("RLIMIT_DATA", MAX_MEMORY))

_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38

# Landlock: linux/landlock.h. The system calls have the same numbers on every architecture but Alpha.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_MAKE_SYM, _REFER, _TRUNCATE = 1 << 12, 1 << 13, 1 << 14
_READ = _READ_FILE | _READ_DIR
_WORK = (
    _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SYM | _REFER
)
_RIGHTS_BITS = {1: 13, 2: 14, 3: 15, 4: 15}
"""Number of file rights in each version of Landlock's interface; from version 5 on (ioctl on devices) there are 16."""

_USABLE = 2
"""Lowest usable version: version 1 forbids renames from one directory to another, so each move would become a transfer."""


_LOOKED_UP = (
    "/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/ssl", "/etc/pki",
    "/run/systemd/resolve", "/lib", "/lib64", "/usr/lib", "/usr/lib64",
)  # fmt: skip
"""What the C library and OpenSSL read to find and verify a host."""


def restrict(pin_root: Optional[str], *, connects: bool = False) -> str:
    """Restrict this process; return a description of the restrictions, for `hello`.

    Call it before there is a second thread: Landlock restricts the calling thread and those that it starts.

    Args:
        pin_root: directory that all trees must lie in; None: the backend chooses them later, so file access is not restricted.
        connects: the process connects to object stores.
    """
    if pin_root is not None:
        _load_what_comes_late(connects=connects)
    if ctypes is None:
        return "no sandbox (Python has no ctypes or no resource)"
    try:
        libc = ctypes.CDLL(None, use_errno=True)
    except OSError:
        return "no sandbox (the C library cannot be called)"
    words = [
        "no_new_privs" if _prctl(libc.prctl, _PR_SET_NO_NEW_PRIVS, 1) else "new_privs possible"
    ]
    if _prctl(libc.prctl, _PR_SET_DUMPABLE, 0):
        words.append("not dumpable")
    limited = [_limit(name, most) for name, most in _LIMITS]
    if all(limited):
        words.append("limits")
    libc.syscall.restype = ctypes.c_long
    words.append(
        "no landlock (streamed)"
        if pin_root is None
        else landlock(libc.syscall, pin_root, connects=connects)
    )
    return ", ".join(words)


def _load_what_comes_late(*, connects: bool) -> None:
    """Import now what would be imported at its first use, when Landlock may deny access to its files."""
    import concurrent.futures.thread  # noqa: F401  # loads the module

    codecs.lookup("unicode_escape")
    if connects:
        with suppress(ImportError):
            from replicator.agent.restore import http_connection, job  # noqa: F401

            codecs.lookup("idna")
            http_connection.context()


def _prctl(prctl: Call, option: int, value: int) -> bool:
    return prctl(option, *[ctypes.c_ulong(number) for number in (value, 0, 0, 0)]) == 0


def _limit(name: str, most: int) -> bool:
    """Lower a resource limit, soft and hard, to `most` or to the present hard limit; return False if that fails."""
    kind = getattr(resource, name, None)
    if kind is None:
        return False
    with suppress(OSError, ValueError):
        hard = resource.getrlimit(kind)[1]
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (bound, bound))
        return True
    return False


def landlock(syscall: Call, pin_root: str, *, connects: bool = False) -> str:
    """Restrict this thread's file access to `pin_root`, and deny network access where supported; return the result as text.

    With `connects`, TCP connections are possible, and what a name service reads can be read.
    """
    version = syscall(_long(_CREATE_RULESET), None, _long(0), _long(_VERSION))
    if version < 0:
        return f"no landlock ({os.strerror(ctypes.get_errno())})"
    if version < _USABLE:
        return f"no landlock (version {version} forbids renames)"
    handled = (1 << _RIGHTS_BITS.get(version, 16)) - 1
    try:
        ruleset = _made_ruleset(syscall, version, handled, connects=connects)
        try:
            # Truncation is a right of its own from version 3 on; the kernel rejects rules with rights that it does not know.
            _allow(syscall, ruleset, pin_root, (_WORK | _TRUNCATE) & handled)
            with suppress(
                OSError
            ):  # an unusual Python, such as a zipped one: what is needed was imported
                _allow(syscall, ruleset, os.path.dirname(os.__file__), _READ)
            for path in _LOOKED_UP if connects else ():
                with suppress(OSError):  # it does not exist
                    _allow(syscall, ruleset, path, _READ if os.path.isdir(path) else _READ_FILE)
            _check(syscall(_long(_RESTRICT_SELF), _long(ruleset), _long(0)))
        finally:
            os.close(ruleset)
    except OSError as error:
        return f"no landlock ({error.strerror})"
    return f"landlock {version}"


def _made_ruleset(syscall: Call, version: int, handled: int, *, connects: bool = False) -> int:
    """Return the descriptor of a ruleset that denies everything for which no rule is added."""
    net = (0b01 if connects else 0b11) if version >= 4 else 0  # bind and connect TCP sockets
    scoped = (
        0b11 if version >= 6 else 0
    )  # abstract Unix sockets of, and signals to, other processes
    attributes = struct.pack("=QQQ", handled, net, scoped)
    # A kernel accepts a structure longer than it knows if the additional bytes are zero.
    return _check(syscall(_long(_CREATE_RULESET), attributes, _long(len(attributes)), _long(0)))


def _allow(syscall: Call, ruleset: int, path: str, rights: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", rights, fd)
        _check(syscall(_long(_ADD_RULE), _long(ruleset), _long(_PATH_BENEATH), rule, _long(0)))
    finally:
        os.close(fd)


def _long(number: int) -> ctypes.c_long:
    """Return an argument as a C long: syscall() reads whole registers, and ctypes would pass an int."""
    return ctypes.c_long(number)


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
