"""Reads catalog records alongside a walk of the source, and compares records with what a stat of the file returns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from replicator.model import DIRECTORY, FILE, key, last_below
from replicator.ports import Catalog, Record, Seen, Source

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


def is_unchanged(record: Record, seen: Seen) -> bool:
    """Return True if a path has not changed since it was recorded, as far as a stat can tell."""
    if record.problem or not record.stable or record.entry.kind != seen.entry.kind:
        return False
    if seen.entry.kind == FILE and record.stamp != seen.stamp:
        return False
    return record.entry._replace(digest=b"") == seen.entry


def is_unlisted(record: Record) -> bool:
    """Return True for a directory that could not be listed: its content is unknown."""
    return record.entry.kind == DIRECTORY and bool(record.problem)


def other_names(catalog: Catalog, path: bytes, inode: int) -> list[bytes]:
    """Return the other recorded names of a file. They may have changed through `path` before it was deleted or replaced."""
    is_known = inode >= 0  # a file that could not be read has no recorded inode
    return [name for name in catalog.sharing(inode) if name != path] if is_known else []


def confirm(source: Source, catalog: Catalog, paths: Sequence[bytes]) -> list[bytes]:
    """Mark unstable records as stable if the stamps of their files are still the same. Runs in a worker thread.

    Returns:
        The paths whose files have changed, although no event was received: under a name outside of the tree, for example.
    """
    stable, changed = [], []
    for record in catalog.get(paths).values():
        if record.stable or record.problem or record.stamp.inode < 0:
            continue
        with suppress(OSError):  # its directory cannot be read any more: the record stays unstable
            seen = source.stat(record.path)
            if seen is not None and seen.stamp == record.stamp:
                stable.append(record._replace(stable=True))
            else:
                changed.append(record.path)
    catalog.apply(stable, (), {})
    return changed


class RecordCursor:
    """Records in key order, consumed during a walk of the source.

    Attributes:
        count: number of records consumed.
    """

    def __init__(self, records: Iterator[Record]) -> None:
        self._records = records
        self._next = next(records, None)
        self.count = 0

    @property
    def is_at_end(self) -> bool:
        """True if no record is left."""
        return self._next is None

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
        """Skip all records below a directory."""
        low, high = key(directory) + b"\0", key(directory) + b"\1"
        while self._next is not None and (not directory or low <= key(self._next.path) < high):
            self._pop()

    def rest(self) -> Iterator[bytes]:
        """Yield the paths of all remaining records."""
        while self._next is not None:
            yield self._next.path
            self._pop()
