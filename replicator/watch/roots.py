"""The root directory of a watcher: how it is opened, and whether its path still names it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from replicator.errors import SourceError
from replicator.model import printable


class Root(Protocol):
    """The part of `ports.Source` that a watcher uses."""

    def duplicate_root(self) -> int:
        """Return a new descriptor of the root, which the caller must close.

        Raises:
            SourceError: if the root is not open.
            OSError: if it cannot be opened.
        """

    def check_root(self) -> object:
        """Check that the path still names the root.

        Raises:
            SourceError: if it does not.
        """


class NamedRoot:
    """The directory that a path names when `duplicate_root` is called.

    Args:
        root: the path.
    """

    def __init__(self, root: bytes) -> None:
        self._root = root
        self._held: os.stat_result

    def duplicate_root(self) -> int:
        """Open the directory, and remember its identity for `check_root`."""
        fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._held = os.fstat(fd)
        return fd

    def check_root(self) -> None:
        """Check that the path still names the directory that was opened.

        Raises:
            SourceError: if it names another one.
            OSError: if it cannot be read.
        """
        if not os.path.samestat(Path(os.fsdecode(self._root)).stat(), self._held):
            raise SourceError(f"The source {printable(self._root)} was replaced.")
