"""The members of a group, who may read the status: let them reach the control socket, and tell them from the daemon's user."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from replicator.errors import ControlError


def admit(path: Path, group: int) -> None:
    """Let the members of a group connect to a socket, through its directory, of which they can neither list nor open other files.

    Args:
        path: of the socket. All other files in the directory have mode 0600.
        group: numeric id.

    Raises:
        ControlError: if this process may not give files to the group.
    """
    try:
        os.chown(path, -1, group)
        path.chmod(0o660)
        _open_way(path.parent, group)
    except PermissionError as error:
        raise ControlError(
            f"control.group: {path} cannot be given to the group: the daemon's user must be one of its members"
            " (in the systemd unit: SupplementaryGroups=, and SystemCallFilter=@chown)"
        ) from error


def _open_way(directory: Path, group: int) -> None:
    """Make a private directory passable (not readable) for a group."""
    status = directory.stat()
    if status.st_mode & stat.S_IXOTH:
        return
    if status.st_gid != group:
        os.chown(directory, -1, group)
    directory.chmod(stat.S_IMODE(status.st_mode) & ~0o070 | stat.S_IXGRP)


def may_command(user: int) -> bool:
    """Return True if a user may do more than read: root, and the daemon's user."""
    return user in (0, os.geteuid())
