"""Which directory a watcher watches, and whether it is still in its place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from replicator.errors import SourceError
from replicator.model import printable


class Root(Protocol):
    """What the watcher asks of a source."""

    def duplicate_root(self) -> int:
        """Return a descriptor of the root, which the caller closes. Raises SourceError, OSError."""

    def check_root(self) -> object:
        """Raise SourceError if the path does not name the root any more."""


class NamedRoot:
    """Whatever directory a path names."""

    def __init__(self, root: bytes) -> None:
        self._root = root
        self._held: os.stat_result

    def duplicate_root(self) -> int:
        """Open the directory."""
        fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._held = os.fstat(fd)
        return fd

    def check_root(self) -> None:
        """Raise SourceError if the path names another directory now."""
        if not os.path.samestat(Path(os.fsdecode(self._root)).stat(), self._held):
            raise SourceError(f"The source {printable(self._root)} was replaced.")
