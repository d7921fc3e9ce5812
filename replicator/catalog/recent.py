"""Records that were read last.

Ten frontends that are filled side by side ask for the same records, one after the other; each row costs SQLite two handovers of
the interpreter's lock, which on a busy backend was a fifth of the daemon's CPU time.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from replicator.ports import Record

LIMIT = 10_000
"""Records: about 6 MB; twice what a comparison runs ahead of the sending (engine.comparisons.HIGH_WATER)."""


class Recent:
    """A bounded cache that never keeps what was read before the last write. Thread-safe.

    Args:
        limit: how many records are kept.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._records: OrderedDict[bytes, Record] = OrderedDict()
        self._writes = 0

    def find(self, paths: Sequence[bytes]) -> tuple[dict[bytes, Record], int]:
        """Return those of the paths that are kept, and how many writes there were; note that before reading the rest."""
        with self._lock:
            found = {path: self._records[path] for path in paths if path in self._records}
            return found, self._writes

    def keep(self, records: Iterable[Record], writes: int) -> None:
        """Keep what was read after `writes` writes, unless there was another one since."""
        with self._lock:
            if writes != self._writes:
                return
            for record in records:
                self._records[record.path] = record
            while len(self._records) > self._limit:
                self._records.popitem(last=False)

    def written(self, paths: Iterable[bytes]) -> None:
        """These paths were written, or forgotten."""
        with self._lock:
            self._writes += 1
            for path in paths:
                self._records.pop(path, None)

    def all_written(self) -> None:
        """Anything may have been written."""
        with self._lock:
            self._writes += 1
            self._records.clear()
