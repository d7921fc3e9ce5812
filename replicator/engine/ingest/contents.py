"""Reads the content of changed files, during their check or in the background before it.

Runs in a worker thread.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import NamedTuple

from replicator.delta.ops import literal_bytes
from replicator.engine.ingest.records import is_unchanged, other_names
from replicator.engine.ingest.scan_result import LargeFile, ScanResult, Update
from replicator.model import Entry, Stamp
from replicator.ports import (
    BEING_READ,
    BEING_WRITTEN,
    Catalog,
    Record,
    Seen,
    Snapshot,
    Source,
    Verdict,
)

LARGE = 64 << 20
"""Bytes: larger files are read in the background, because other files would wait for too long."""

HUGE = 4 << 30
"""Bytes: the first scan of a tree does not wait for larger files (10 s at 400 MB/s)."""

NO_STAMP = Stamp(-1, -1, -1, -1)
"""Stamp of a record whose file was not read; it equals no real stamp."""

NEVER_CONSISTENT = "is written all the time, so that no consistent version can be read"

MOST_NAMES = 8
"""Names of an inode that are searched for its content: for a file with 600 names, each of 600 checks would read 599 records."""


class SameContent(NamedTuple):
    """Another path with the same content.

    Attributes:
        record: the record of that path.
        signature: the packed signature of the content.
        fresh: the content was read in the same call, and is not stored yet.
    """

    record: Record
    signature: bytes | None
    fresh: bool


class Early(NamedTuple):
    """A version of a large file that was read in the background, before its check.

    Attributes:
        snapshot: what was read.
        base: the packed signature that its delta is against.
        forced: it was read even if a process had it open for writing.
    """

    snapshot: Snapshot
    base: bytes | None
    forced: bool = False

    def against(self, base: bytes | None) -> Snapshot:
        """Return what was read; without its delta if the version that it is against was replaced meanwhile."""
        if self.snapshot.is_delta and self.base != base:
            return replace(self.snapshot, ops=None, is_delta=False)
        return self.snapshot


class Contents:
    """Reads the files of one tree.

    Args:
        source: the files.
        catalog: the records.
        max_size: bytes; larger files are not read.
    """

    def __init__(self, source: Source, catalog: Catalog, max_size: int = sys.maxsize) -> None:
        self._source = source
        self._catalog = catalog
        self._max_size = max_size
        self._early: dict[bytes, Early] = {}
        self._read: dict[int, tuple[Record, bytes | None]] = {}
        self._walked = False

    def begin(self, *, walked: bool) -> None:
        """Begin a check. What it reads is newer than the events that caused it, and so is current for all names of an inode.

        Args:
            walked: the paths were found by a walk: a directory above them may have been renamed, and recorded by its old name.
        """
        self._read.clear()
        self._walked = walked

    def read_ahead(self, path: bytes, *, force: bool) -> None:
        """Read a large file for its next check; the only call that may run concurrently with all others.

        Raises:
            SourceError: the tree is not read any more.
        """
        base = self._base(path, self._catalog.get([path]).get(path))
        self._early[path] = Early(self._source.snapshot(path, base, force=force), base, force)

    def take_early(self, path: bytes) -> Early | None:
        """Remove and return the version that was read in the background; None if there is none. Only one check uses it."""
        return self._early.pop(path, None)

    def read(
        self,
        seen: Seen,
        record: Record | None,
        early: Early | None,
        found: ScanResult,
        *,
        force: bool,
        unclosed: bool,
        longest: int,
    ) -> int:
        """Read a file if its record may be wrong; return the bytes of content that were kept.

        Args:
            seen: the file at present.
            record: its record.
            early: what was read of it in the background.
            found: the result to add to.
            force: take a consistent snapshot even if a process has it open for writing.
            unclosed: no close event followed the last write. If the file is open for writing, or larger than `longest`, it is then only
                scheduled again, and no problem is recorded.
            longest: bytes; a larger file is left to a background read.
        """
        if seen.entry.size > self._max_size:
            problem = f"larger than tree.max_file_size ({self._max_size} bytes)"
            _failed(seen, record, problem, found)
            return 0
        if record is not None and is_unchanged(record, seen):
            return 0
        if early is None and (same := self._find_same_content(seen, record)) is not None:
            self._take_same_content(seen, record, same, found)
            return 0
        if early is None and seen.entry.size > longest:
            if unclosed and not force:
                found.unsettled.append(seen.path)
                return 0
            found.large.append(LargeFile(seen.path, force, seen.entry.size))
            _placeholder(seen, record, BEING_READ, found)
            return 0
        if record is not None and record.stamp.inode != seen.stamp.inode:
            found.siblings += other_names(self._catalog, seen.path, record.stamp.inode)
        base = self._base(seen.path, record)
        if early is None:
            snapshot = self._source.snapshot(seen.path, base, force=force, unclosed=unclosed)
        else:
            snapshot = early.against(base)
            if snapshot.stamp not in (seen.stamp, None):
                found.siblings.append(seen.path)  # it has changed since; it is checked again
            force = early.forced
        if snapshot.verdict is Verdict.BUSY and unclosed:
            found.unsettled.append(seen.path)
            return 0
        return self._note(seen, record, snapshot, found, force=force)

    def _find_same_content(self, seen: Seen, record: Record | None) -> SameContent | None:
        """Return another path with the same content: a name of the same inode whose recorded stamp is the same."""
        stamp = seen.stamp
        is_same_file = record is not None and record.stamp.inode == stamp.inode
        if seen.links == 1 and (is_same_file or not self._walked):
            # A rename has an event; a query of the catalog for each upload would take 20 us.
            return None
        read = self._read.get(stamp.inode)
        if read is not None and read[0].stamp == stamp and read[0].path != seen.path:
            return SameContent(*read, fresh=True)
        names = other_names(self._catalog, seen.path, stamp.inode)[:MOST_NAMES]
        for known in (self._catalog.get(names) if names else {}).values():
            if known.stamp == stamp and known.stable and known.entry.digest and not known.problem:
                return SameContent(known, self._catalog.signature(known.path), fresh=False)
        return None

    def _take_same_content(
        self, seen: Seen, record: Record | None, same: SameContent, found: ScanResult
    ) -> None:
        entry = seen.entry._replace(digest=same.record.entry.digest)
        ambiguous = record is not None and is_ambiguous(record, entry)
        taken = same.record._replace(path=seen.path, entry=entry, ambiguous=ambiguous)
        if not taken.stable:
            found.unstable.append(taken)
        if record is not None and record.stamp.inode != seen.stamp.inode:
            found.siblings += other_names(self._catalog, seen.path, record.stamp.inode)
        if record is not None and record.entry == taken.entry and not record.problem:
            found.records.append(taken)
            return
        both_stay = seen.links > 1  # hard links of the source are separate files on frontends
        usable = not same.record.ambiguous and not (both_stay and entry.size > LARGE)
        path = same.record.path if usable else b""
        found.updates.append(
            Update(taken, record, same_content_as=path, fresh=same.fresh, both_stay=both_stay)
        )
        found.signatures[seen.path] = same.signature

    def _outdated_names(self, seen: Seen, snapshot: Snapshot) -> list[bytes]:
        """Return the other names of a file whose records are not of this version.

        The rest must not be checked again: two names whose stamps never become stable, because their time is in the future, would
        schedule each other forever.
        """
        names = other_names(self._catalog, seen.path, seen.stamp.inode)
        records = self._catalog.get(names) if names else {}
        version = snapshot.entry, snapshot.stamp
        known = {name: (record.entry, record.stamp) for name, record in records.items()}
        return [name for name in names if known.get(name) != version]

    def _base(self, path: bytes, record: Record | None) -> bytes | None:
        known = record is not None and record.entry.digest
        return self._catalog.signature(path) if known else None

    def _note(
        self,
        seen: Seen,
        record: Record | None,
        snapshot: Snapshot,
        found: ScanResult,
        *,
        force: bool,
    ) -> int:
        if snapshot.verdict is Verdict.READ:
            if seen.links > 1:
                found.siblings += self._outdated_names(seen, snapshot)
            size = _add_update(seen.path, snapshot, record, found)
            if seen.links > 1 and snapshot.entry is not None and snapshot.stamp is not None:
                read = Record(seen.path, snapshot.entry, snapshot.stamp, snapshot.stable)
                self._read[snapshot.stamp.inode] = read, snapshot.signature
            return size
        if snapshot.verdict is Verdict.TORN and force:
            _failed(seen, record, NEVER_CONSISTENT, found)
        elif snapshot.verdict is Verdict.FAILED:
            _failed(seen, record, snapshot.problem, found)
        else:
            found.unsettled.append(seen.path)
            _placeholder(seen, record, BEING_WRITTEN, found)
        return 0


def _failed(seen: Seen, record: Record | None, problem: str, found: ScanResult) -> None:
    """Note that a file cannot be read, and why; if that is recorded already, nothing has changed."""
    failed = Record(seen.path, seen.entry._replace(digest=b""), NO_STAMP, problem=problem)
    if failed == record:
        found.unread.append(failed)
    else:
        found.updates.append(Update(failed, record))


def _placeholder(seen: Seen, record: Record | None, why: str, found: ScanResult) -> None:
    """Record a new file before its content is known, so that no comparison deletes it on frontends."""
    if record is None:
        placeholder = Record(seen.path, seen.entry, NO_STAMP, problem=why)
        found.updates.append(Update(placeholder, None))


def _add_update(path: bytes, snapshot: Snapshot, record: Record | None, found: ScanResult) -> int:
    assert snapshot.entry is not None  # what READ means
    assert snapshot.stamp is not None
    ambiguous = record is not None and is_ambiguous(record, snapshot.entry)
    taken = Record(path, snapshot.entry, snapshot.stamp, snapshot.stable, ambiguous=ambiguous)
    if not snapshot.stable:
        found.unstable.append(taken)
    if record is not None and record.entry == taken.entry and not record.problem:
        found.records.append(taken)
        return 0
    found.updates.append(Update(taken, record, snapshot.ops, snapshot.is_delta))
    found.signatures[path] = snapshot.signature
    return literal_bytes(snapshot.ops or ())


def is_ambiguous(record: Record, entry: Entry) -> bool:
    """Return True if the content has changed, now or earlier, while size and mtime stayed the same."""
    was = record.entry
    alike = was.kind == entry.kind and was.size == entry.size and was.mtime_ns == entry.mtime_ns
    return alike and (record.ambiguous or (bool(was.digest) and was.digest != entry.digest))
