"""A small file that is looked at often and changes rarely."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")

FIRM = 2.0
"""Seconds after a change in which another one may leave size and times as they are: until then the file is read each time."""


class ChangingFile(Generic[T]):
    """A file and its parsed form, which is made anew only when the content has changed.

    Args:
        path: the file.
        parse: makes the parsed form from the content.
    """

    def __init__(self, path: Path, parse: Callable[[bytes], T]) -> None:
        self._path = path
        self._parse = parse
        self._stamp: tuple[int, ...] | None = None
        self._known: tuple[bytes, T] | None = None

    def read(self) -> T:
        """Return the parsed form of what the file holds at this moment.

        Raises:
            OSError: it cannot be read.
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
            self._known = None  # in case that it cannot be parsed
            self._known = (content, self._parse(content))
        changed = max(status.st_mtime, status.st_ctime)
        self._stamp = stamp if time.time() - changed > FIRM else None
        return self._known[1]
