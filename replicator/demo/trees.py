"""Compare trees as a person would: everything that is there, with a digest of every content."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path

_CHANGED = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL)
"""It went, or became something else, while we looked."""


def fingerprint(root: Path) -> dict[str, tuple[object, ...]]:
    """Return, for every path below `root`: its kind, mode, mtime in nanoseconds, and SHA-256 or link target."""
    found: dict[str, tuple[object, ...]] = {}
    for directory, directories, files in os.walk(root):
        for name in directories + files:
            path = Path(directory, name)
            try:
                found[str(path.relative_to(root))] = _describe(path)
            except OSError as error:
                if error.errno not in _CHANGED:
                    raise
    return found


def _describe(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFLNK:
        return kind, status.st_mtime_ns, os.readlink(path)  # the target verbatim
    content = hashlib.sha256(path.read_bytes()).hexdigest() if kind == stat.S_IFREG else ""
    return kind, stat.S_IMODE(status.st_mode), status.st_mtime_ns, content


def difference(one: Path, two: Path) -> list[str]:
    """Return the paths at which two trees differ, sorted."""
    left, right = fingerprint(one), fingerprint(two)
    return sorted(path for path in left.keys() | right.keys() if left.get(path) != right.get(path))
