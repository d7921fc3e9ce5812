"""Records that were read last.

Ten frontends that are filled side by side ask for the same records, one after the other; each row costs SQLite two handovers of
the interpreter's lock, which on a busy backend was a fifth of the daemon's CPU time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from replicator.ports import Record

LIMIT = 10_000
"""Records: about 6 MB. Half of them are more than a comparison runs ahead of the sending (engine.comparisons.HIGH_WATER)."""


class Recent:
    """A bounded cache that never keeps what was read before the last write. Thread-safe.

    In two generations: when the young one holds half of what may be kept, it becomes the old one, which is forgotten. To keep the
    order of single records costs 2 us for each.

    Args:
        limit: how many records are kept: the last half of that for certain.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._half = limit // 2
        self._lock = threading.Lock()
        self._young: dict[bytes, Record] = {}
        self._old: dict[bytes, Record] = {}
        self._writes = 0

    def find(self, paths: Sequence[bytes]) -> tuple[dict[bytes, Record], int]:
        """Return those of the paths that are kept, and how many writes there were; note that before reading the rest."""
        with self._lock:
            young, old = self._young.get, self._old.get
            found = {path: record for path in paths if (record := young(path) or old(path))}
            return found, self._writes

    def keep(self, records: Iterable[Record], writes: int) -> None:
        """Keep what was read after `writes` writes, unless there was another one since."""
        with self._lock:
            if writes != self._writes:
                return
            self._young.update([(record.path, record) for record in records])
            if len(self._young) >= self._half:
                self._young, self._old = {}, self._young

    def written(self, paths: Iterable[bytes]) -> None:
        """These paths were written, or forgotten."""
        with self._lock:
            self._writes += 1
            for path in paths:
                self._young.pop(path, None)
                self._old.pop(path, None)

    def all_written(self) -> None:
        """Anything may have been written."""
        with self._lock:
            self._writes += 1
            self._young.clear()
            self._old.clear()
