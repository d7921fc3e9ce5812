"""Refuse to pin a key to a directory from which the pin could be undone.

A backend that can write authorized_keys, or a file that is run at a login, is not confined at all. So a root must neither contain
nor lie in a place where sshd, a shell or Python looks for such files: the home of the account (/var/www for Debian's www-data),
its hidden directories, some directories below /etc, and this program itself. Directories are compared by device and inode as well,
because one may be mounted in two places.
"""

from __future__ import annotations

import os
import pwd
import sys
from contextlib import suppress
from typing import Iterator

_STARTS = (
    "/etc/ssh", "/etc/profile", "/etc/profile.d", "/etc/environment", "/etc/pam.d", "/etc/security", "/etc/zsh", "/etc/fish",
    "/etc/sudoers.d", "/etc/cron.d", "/etc/cron.hourly", "/etc/cron.daily", "/etc/systemd", "/etc/init.d", "/etc/ld.so.conf.d",
    "/usr/lib/systemd", "/var/spool/cron",
)  # fmt: skip
"""Directories and files that are read at logins, or by services that start programs for any account."""


def refusal(root: bytes, owner: int = -1) -> str:
    """Return why a key must not be pinned to a directory, as a clause about it; empty if it may be.

    Args:
        root: an existing directory.
        owner: user id of the files written there; -1: the agent's own.
    """
    real = os.path.realpath(root)
    for home, name, is_own in _homes({os.geteuid(), owner}):
        if _holds(real, home):
            return (
                f"holds the home directory of {name}, with .ssh/authorized_keys and the shell's start files:"
                " use a directory below it, such as /var/www/shop/upload"
            )
        if _hidden(real, os.path.realpath(home)):
            return f"lies in a hidden directory of the home of {name}, where programs look for what they start"
        # Hidden symlinks in the home of another account affect only that account.
        for start in _linked(home) if is_own else ():
            if _holds(real, start) or _holds(start, real):
                return f"holds what a symlink in the home of {name} leads to: {os.fsdecode(start)}"
    code = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for place in (*_STARTS, code, sys.prefix):
        if _holds(real, os.fsencode(place)):
            return f"holds {place}: what is written there can run for every account"
    for place in (*_STARTS, code):
        if _holds(os.fsencode(os.path.realpath(place)), real):
            return f"lies in {place}: what is written there can run for every account"
    return ""


def _homes(users: set[int]) -> Iterator[tuple[bytes, str, bool]]:
    """Yield (home directory, account name, whether the account is one of `users`).

    If one of the users is root, who may write to every home, yield all accounts.
    """
    with suppress(OSError):
        for user in pwd.getpwall():
            if (user.pw_uid in users or 0 in users) and user.pw_dir.strip("/"):
                yield os.fsencode(user.pw_dir), user.pw_name, user.pw_uid in users
    home = os.environ.get("HOME", "")
    with suppress(OSError):
        if home.strip("/") and os.path.isabs(home) and os.stat(home).st_uid == os.geteuid():
            yield os.fsencode(home), "this account", True


def _linked(home: bytes) -> list[bytes]:
    """Return the targets of hidden symlinks in a home directory, such as .ssh or .bashrc."""
    with suppress(OSError), os.scandir(home) as names:
        return [
            os.path.realpath(one.path)
            for one in names
            if one.name.startswith(b".") and one.is_symlink()
        ]
    return []


def _holds(outer: bytes, inner: bytes) -> bool:
    """Return True if the directory `outer` is `inner`, or lies above it."""
    with suppress(OSError):
        wanted = os.stat(outer)
        place = os.path.realpath(inner)
        while True:
            with suppress(OSError):
                if os.path.samestat(os.stat(place), wanted):
                    return True
            if place == b"/":
                return False
            place = os.path.dirname(place)
    return False


def _hidden(root: bytes, home: bytes) -> bool:
    """Return True if a root lies in a hidden directory of a home."""
    return root.startswith(home.rstrip(b"/") + b"/.")
