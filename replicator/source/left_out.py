"""Paths of a source that are not replicated. Special files and symlinks are reported, each once."""

from __future__ import annotations

import threading
from collections.abc import Callable

from replicator.core.filters import Filter
from replicator.model import FILE, SYMLINK, Entry, admits

MAX_SPECIALS = 1000
"""Maximum number of special files and symlinks that are reported."""


class LeftOut:
    """Decides what is left out of one tree. Thread-safe.

    Args:
        filter: the operator's excludes.
        symlinks: which symlinks are replicated; see `model.admits`.

    Attributes:
        on_special: called once with the path of each fifo, socket and device that is left out.
        on_symlink: called once with the path of each symlink that is left out.
    """

    def __init__(self, filter: Filter, symlinks: str) -> None:  # noqa: A002  # what it is
        self.on_special: Callable[[bytes], None] = lambda _: None
        self.on_symlink: Callable[[bytes], None] = lambda _: None
        self._filter = filter
        self._symlinks = symlinks
        self._reported: set[bytes] = set()
        self._lock = threading.Lock()

    def symlink(self, path: bytes, entry: Entry) -> bool:
        """Return True for a symlink that is not replicated, and report it."""
        if entry.kind != SYMLINK or admits(self._symlinks, path, entry.link):
            return False
        if self._is_new(path):
            self.on_symlink(path)
        return True

    def special(self, path: bytes) -> None:
        """Report a special file, unless it is excluded."""
        if not self._filter.excluded(path, FILE) and self._is_new(path):
            self.on_special(path)

    def _is_new(self, path: bytes) -> bool:
        with self._lock:
            if path in self._reported or len(self._reported) >= MAX_SPECIALS:
                return False
            self._reported.add(path)
        return True
