"""Cache of recently read records.

Frontends that are bootstrapped at the same time read the same records one after the other. For each row, SQLite releases and acquires
the GIL, which with ten frontends took a fifth of the daemon's CPU time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from replicator.ports import Record

LIMIT = 10_000
"""Records: about 6 MB. Half of that is more than what a comparison may have found before it is sent (`HIGH_WATER` of engine.frontend.comparisons)."""


class Recent:
    """A bounded cache that never returns a record older than the last write. Thread-safe.

    It keeps two generations: when the young one reaches half of the limit, it replaces the old one. An LRU order of single
    records would cost 2 us for each.

    Args:
        limit: maximum number of records; at least the last half of that is kept.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._half = limit // 2
        self._lock = threading.Lock()
        self._young: dict[bytes, Record] = {}
        self._old: dict[bytes, Record] = {}
        self._writes = 0

    def find(self, paths: Sequence[bytes]) -> tuple[dict[bytes, Record], int]:
        """Return the cached records of `paths`, and the number of writes so far, which the caller passes to `keep`."""
        with self._lock:
            young, old = self._young.get, self._old.get
            found = {path: record for path in paths if (record := young(path) or old(path))}
            return found, self._writes

    def keep(self, records: Iterable[Record], writes: int) -> None:
        """Add records that were read when there had been `writes` writes; do nothing if there were more since."""
        with self._lock:
            if writes != self._writes:
                return
            self._young.update([(record.path, record) for record in records])
            if len(self._young) >= self._half:
                self._young, self._old = {}, self._young

    def written(self, paths: Iterable[bytes]) -> None:
        """Record that paths were written or removed."""
        with self._lock:
            self._writes += 1
            for path in paths:
                self._young.pop(path, None)
                self._old.pop(path, None)

    def all_written(self) -> None:
        """Record that any path may have been written."""
        with self._lock:
            self._writes += 1
            self._young.clear()
            self._old.clear()
