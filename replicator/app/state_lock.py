"""The lock of the state directory: it allows one daemon, or one command without a daemon."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from replicator.errors import ConfigError, StateLocked

STATE_CHECK = 1.0
"""Seconds between two checks that the state directory still exists."""


@contextmanager
def state_lock(directory: Path) -> Iterator[int]:
    """Create a state directory if it is missing, and lock it (flock) until the context ends; yield the lock's descriptor.

    Raises:
        StateLocked: if another process holds the lock.
        ConfigError: if the directory cannot be created or written, or other users can write to it.
    """
    try:
        _make_private(directory)
        fd = os.open(
            directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
    except OSError as error:
        raise ConfigError("state.directory", f"{directory}: {error.strerror}") from error
    try:
        _lock(fd, directory)
        with suppress(OSError):  # the lock also works on a full disk, only without the pid in it
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield fd
    finally:
        os.close(fd)


def _lock(fd: int, directory: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
        raise StateLocked(
            f"{directory}: another replicator (pid {owner or 'unknown'}) owns this state"
        ) from None


def _make_private(directory: Path) -> None:
    """Create a private state directory, or check that no other user can write to the existing one.

    The mode of an existing directory is not changed: if the path is a mistake such as /tmp, chmod would do harm.

    Raises:
        OSError: if the directory cannot be created or examined.
        ConfigError: if other users may write to it.
    """
    mask = os.umask(0o077)  # applies to missing parents as well
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    finally:
        os.umask(mask)
    status = directory.stat()
    if status.st_uid not in (0, os.geteuid()):
        wrong, fix = f"belongs to user {status.st_uid}", f"chown {os.geteuid()} {directory}"
    elif status.st_mode & 0o022:
        wrong, fix = f"has mode {status.st_mode & 0o7777:04o}", f"chmod 700 {directory}"
    else:
        return
    raise ConfigError(
        "state.directory",
        f"{directory} {wrong}, so other users could send it requests or replace its catalog: `{fix}`",
    )


async def until_lost(directory: Path, lock: int) -> None:
    """Wait until the state directory is removed or replaced: its lock would not stop a second daemon any more.

    Args:
        directory: the state directory.
        lock: the descriptor from `state_lock`.
    """
    owned = os.fstat(lock)
    while not _is_lost(directory / "lock", owned):  # noqa: ASYNC110  # the change is made by another process
        await asyncio.sleep(STATE_CHECK)


def _is_lost(lock: Path, owned: os.stat_result) -> bool:
    try:
        return not os.path.samestat(lock.stat(follow_symlinks=False), owned)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # unknown for now, for example for lack of permission
        return False
