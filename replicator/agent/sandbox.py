"""What the agent gives up before it hears the first byte of the backend, and the words that say so.

All of it is best effort: where a kernel lacks a part, or Python has no ctypes, the agent works without, and says that. What
a restricted agent must still be able to do: replace, rename, chmod and touch anything below its root, import Python's own
modules, and start the one thread that hashes.

Not limited: processes, because the kernel counts all of the user's, and there is nothing left that could be executed. Nor
does Landlock hold back chmod, chown and touch; those go to descriptors that were opened below the root.
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
except ImportError:  # a Python in pieces
    ctypes = None  # type: ignore[assignment]
    resource = None  # type: ignore[assignment]

Call = Callable[..., int]
"""A function of the C library."""

MAX_MEMORY = 1 << 30
"""Bytes of data: twenty times what an agent takes that is given the worst that fits its frames."""

MAX_DESCRIPTORS = 4096
"""Each of 1,024 trees may hold its root, and one batch 128 directories of each tree that it touches."""

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
"""How many file rights each version of the interface has; from 5 on (ioctl on devices) there are 16."""

_USABLE = 2
"""Version 1 forbids every rename from one directory to another, which would turn moves into transfers."""


def restrict(jail: Optional[str]) -> str:
    """Give up what an agent does not need; return what that was, for `hello`.

    Call it before there is a second thread: Landlock binds the calling one, and those that it starts.

    Args:
        jail: directory that nothing may leave; None: the trees are named later, so that files cannot be confined yet.
    """
    if jail is not None:
        _load_what_comes_late()
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
    words.append("no landlock (streamed)" if jail is None else _landlock(libc.syscall, jail))
    return ", ".join(words)


def _load_what_comes_late() -> None:
    """Import what is otherwise imported at its first use, when files may be out of reach."""
    import concurrent.futures.thread  # noqa: F401

    codecs.lookup("unicode_escape")


def _prctl(prctl: Call, option: int, value: int) -> bool:
    return prctl(option, *[ctypes.c_ulong(number) for number in (value, 0, 0, 0)]) == 0


def _limit(name: str, most: int) -> bool:
    """Set a resource limit for good, never above what it was; return False where that is not possible."""
    kind = getattr(resource, name, None)
    if kind is None:
        return False
    with suppress(OSError, ValueError):
        hard = resource.getrlimit(kind)[1]
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (bound, bound))
        return True
    return False


def _landlock(syscall: Call, jail: str) -> str:
    """Confine this thread's files to `jail`, and let it bind and connect nowhere; return how that went."""
    version = syscall(_long(_CREATE_RULESET), None, _long(0), _long(_VERSION))
    if version < 0:
        return f"no landlock ({os.strerror(ctypes.get_errno())})"
    if version < _USABLE:
        return f"no landlock (version {version} forbids renames)"
    handled = (1 << _RIGHTS_BITS.get(version, 16)) - 1
    try:
        ruleset = _made_ruleset(syscall, version, handled)
        try:
            # To truncate is a right from version 3 on; the kernel refuses rules with rights that it does not know.
            _allow(syscall, ruleset, jail, (_WORK | _TRUNCATE) & handled)
            with suppress(OSError):  # of an unusual Python: all that is needed was imported
                _allow(syscall, ruleset, os.path.dirname(os.__file__), _READ)
            _check(syscall(_long(_RESTRICT_SELF), _long(ruleset), _long(0)))
        finally:
            os.close(ruleset)
    except OSError as error:
        return f"no landlock ({error.strerror})"
    return f"landlock {version}"


def _made_ruleset(syscall: Call, version: int, handled: int) -> int:
    """Return a descriptor of a set of rules that forbids all that it does not name."""
    net = 0b11 if version >= 4 else 0  # to bind and to connect TCP sockets
    scoped = 0b11 if version >= 6 else 0  # abstract Unix sockets and signals of others
    attributes = struct.pack("=QQQ", handled, net, scoped)
    # A kernel takes a longer structure than it knows as long as what it does not know is zero.
    return _check(syscall(_long(_CREATE_RULESET), attributes, _long(len(attributes)), _long(0)))


def _allow(syscall: Call, ruleset: int, path: str, rights: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", rights, fd)
        _check(syscall(_long(_ADD_RULE), _long(ruleset), _long(_PATH_BENEATH), rule, _long(0)))
    finally:
        os.close(fd)


def _long(number: int) -> ctypes.c_long:
    """Return an argument as wide as a register; syscall() takes what it is given."""
    return ctypes.c_long(number)


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
