"""The stamp file: rewritten after each batch of changes, so that a program of the frontend can be started by it (systemd.path(5))."""

from __future__ import annotations

import hashlib
import time

from replicator.agent.refusals import Refused
from replicator.agent.store import Store
from replicator.errors import PathRefused
from replicator.model import ancestors, check_path
from replicator.wire.changes import MakeDirectory, PutFile

FILE_MODE = 0o644
DIRECTORY_MODE = 0o755


class Stamp:
    """The stamp file of one tree.

    Args:
        store: the tree.
        path: path of the file, relative to the root.
    """

    def __init__(self, store: Store, path: bytes) -> None:
        self._store = store
        self._path = check_path(path)
        self._last = 0

    def renew(self) -> None:
        """Replace the file; its content, the time in nanoseconds since the epoch, always increases.

        Errors are ignored: on a full disk, for example, the changes themselves are refused and reported.
        """
        try:
            self._put()
        except (Refused, OSError, PathRefused):
            try:
                self._make_directories()
                self._put()
            except (Refused, OSError, PathRefused):
                return

    def _put(self) -> None:
        self._last = now = max(time.time_ns(), self._last + 1)
        content = b"%d\n" % now
        digest = hashlib.sha256(content).digest()
        put = PutFile(0, 0, self._path, FILE_MODE, len(content), now, digest)
        self._store.put(put, memoryview(content))

    def _make_directories(self) -> None:
        for path in reversed(list(ancestors(self._path))):
            if not self._exists(path):
                made = MakeDirectory(0, 0, path, DIRECTORY_MODE, time.time_ns())
                self._store.make_directory(made)

    def _exists(self, path: bytes) -> bool:
        try:
            self._store.tree.lstat(path)
        except FileNotFoundError:
            return False
        return True
