"""What the catalog knows, read alongside a walk of the source."""

from __future__ import annotations

from collections.abc import Iterator

from replicator.model import DIRECTORY, FILE, key, last_below
from replicator.ports import Catalog, Record, Seen

_PAGE = 1000


def records_below(catalog: Catalog, directory: bytes) -> Iterator[Record]:
    """Yield all records strictly below a directory, in key order, a page at a time."""
    after: bytes | None = directory or None
    until = last_below(directory) if directory else None
    while True:
        rows = catalog.scan(after, until, _PAGE)
        yield from rows
        if len(rows) < _PAGE:
            return
        after = rows[-1].path


def same(record: Record, seen: Seen) -> bool:
    """Return True if nothing of a path changed since it was recorded, as far as a stat can tell."""
    if record.problem or not record.stable or record.entry.kind != seen.entry.kind:
        return False
    if seen.entry.kind == FILE and record.stamp != seen.stamp:
        return False
    return record.entry._replace(digest=b"") == seen.entry


def is_unlisted(record: Record) -> bool:
    """Return True for a directory of whose content nothing is known."""
    return record.entry.kind == DIRECTORY and bool(record.problem)


def siblings(catalog: Catalog, path: bytes, inode: int) -> list[bytes]:
    """Return the other names of a file, which may have changed under this one, before it went or was replaced."""
    known = inode >= 0  # of what could not be read it is not
    return [name for name in catalog.sharing(inode) if name != path] if known else []


class Ahead:
    """Records in key order, consumed while walking."""

    def __init__(self, records: Iterator[Record]) -> None:
        self._records = records
        self._next = next(records, None)
        self.count = 0

    def _pop(self) -> Record | None:
        record, self._next = self._next, next(self._records, None)
        self.count += 1
        return record

    def before(self, path: bytes) -> Iterator[bytes]:
        """Yield the paths of the records that sort before `path`."""
        while self._next is not None and key(self._next.path) < key(path):
            yield self._next.path
            self._pop()

    def at(self, path: bytes) -> Record | None:
        """Return the record of `path`, if it is next."""
        return self._pop() if self._next is not None and self._next.path == path else None

    def skip_below(self, directory: bytes) -> None:
        """Pass over all records below a directory."""
        low, high = key(directory) + b"\0", key(directory) + b"\1"
        while self._next is not None and (not directory or low <= key(self._next.path) < high):
            self._pop()

    def rest(self) -> Iterator[bytes]:
        """Yield the paths of all records that are left."""
        while self._next is not None:
            yield self._next.path
            self._pop()
