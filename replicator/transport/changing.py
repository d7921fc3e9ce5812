"""Cache of a parsed small file that is read often and changes rarely."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")

STABLE = 2.0
"""Seconds after a change during which another one may have the same size and times; until then, the file is read each time."""


class ChangingFile(Generic[T]):
    """A file that is parsed again only after its content has changed.

    Args:
        path: the file.
        parse: converts the content to the value that `read` returns.
    """

    def __init__(self, path: Path, parse: Callable[[bytes], T]) -> None:
        self._path = path
        self._parse = parse
        self._stamp: tuple[int, ...] | None = None
        self._known: tuple[bytes, T] | None = None

    def read(self) -> T:
        """Return the parsed content of the file as it is now.

        Raises:
            OSError: if it cannot be read.
            Exception: whatever `parse` raises.
        """
        status = os.stat(self._path)
        stamp = (
            status.st_dev,
            status.st_ino,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
        )
        if self._known is not None and stamp == self._stamp:
            return self._known[1]
        content = self._path.read_bytes()
        if self._known is None or content != self._known[0]:
            self._known = None  # in case `parse` raises
            self._known = (content, self._parse(content))
        changed = max(status.st_mtime, status.st_ctime)
        self._stamp = stamp if time.time() - changed > STABLE else None
        return self._known[1]
