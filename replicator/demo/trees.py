"""Compare trees as a person would: everything that is there, with a digest of every content."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path


def fingerprint(root: Path) -> dict[str, tuple[object, ...]]:
    """Return, for every path below `root`: its kind, mode, mtime in nanoseconds, and SHA-256 or link target."""
    found: dict[str, tuple[object, ...]] = {}
    for directory, directories, files in os.walk(root):
        for name in directories + files:
            path = Path(directory, name)
            with suppress(FileNotFoundError):  # it went while we looked
                found[str(path.relative_to(root))] = _describe(path)
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
