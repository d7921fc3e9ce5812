"""Messages to the operator about directories that are not watched."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path

from replicator.model import printable
from replicator.watch.arm import Unwatched

LIMIT_FILE = Path("/proc/sys/fs/inotify/max_user_watches")
NAMESPACE_FILE = Path("/proc/sys/user/max_inotify_watches")
"""The limit of a user namespace, such as a container's; the lower of the two applies."""

UNKNOWN = 1 << 62
"""Stands for a limit that cannot be read; larger than any real one."""

NAMED = 5
"""Maximum number of directories that are listed by name; the others are counted."""


def describe(
    root: bytes, unwatched: Mapping[bytes, Unwatched], watched: int, rescan: float
) -> list[str]:
    """Return full sentences about directories that are not watched.

    Args:
        root: path of the tree's root.
        unwatched: the directories, by path.
        watched: number of directories that are watched.
        rescan: seconds between two scans of unwatched directories.
    """
    without = sum(u.directories for u in unwatched.values() if u.error == errno.ENOSPC)
    problems = [_limit_reached(root, without, watched, rescan)] if without else []
    others = [(path, u) for path, u in unwatched.items() if u.error != errno.ENOSPC]
    problems += [
        f"The directory {printable(path) or '.'} of {printable(root)} cannot be watched:"
        f" {os.strerror(u.error)}. It is walked every {rescan:g} s instead."
        for path, u in others[:NAMED]
    ]
    if len(others) > NAMED:
        problems.append(
            f"{len(others) - NAMED} more directories of {printable(root)} cannot be watched."
        )
    return problems


def _limit_reached(root: bytes, without: int, watched: int, rescan: float) -> str:
    """Return a sentence with the limit that is needed: the present one is used up, by this and other processes of the user."""
    limit, name = min(
        (_limit(LIMIT_FILE), "fs.inotify.max_user_watches"),
        (_limit(NAMESPACE_FILE), "user.max_inotify_watches"),
    )
    known = "" if limit == UNKNOWN else f"it is {limit}, and "
    needed = (watched if limit == UNKNOWN else max(limit, watched)) + without
    return (
        f"{without} directories of {printable(root)} are not watched, and are walked every {rescan:g} s instead,"
        f" because {name} is reached: {known}at least {needed} are needed"
        f" (this tree has {watched + without} directories). Raise it with"
        f" `sysctl -w {name}={needed}`, and for good with the line"
        f" `{name}={needed}` in /etc/sysctl.d/90-replicator.conf."
    )


def watch_limit() -> int | None:
    """Return how many watches the kernel grants to all programs of this user together; None: unknown."""
    limit = min(_limit(LIMIT_FILE), _limit(NAMESPACE_FILE))
    return None if limit == UNKNOWN else limit


def _limit(file: Path) -> int:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return UNKNOWN
