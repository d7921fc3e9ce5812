"""What files hold: reads a version of one, at its look or ahead of it, and notes what comes of that.

Runs in a worker thread.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import NamedTuple

from replicator.delta.ops import Literal
from replicator.engine.ingest.records import same, siblings
from replicator.engine.ingest.scan_result import (
    LargeFile,
    ScanResult,
    Update,
)
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
"""Bytes: reading more takes longer than everybody else should wait, so it is done beside them."""

HUGE = 4 << 30
"""Bytes: reading more takes longer than the first survey of a tree should wait for one file (10 s at 400 MB/s)."""

NO_STAMP = Stamp(-1, -1, -1, -1)


RESTLESS = "is written all the time, so that no consistent version can be read"

MOST_TWINS = 8
"""Names of an inode that are asked for its content: of a file with 600 names, each of 600 looks would ask for 599 records."""


class Twin(NamedTuple):
    """Another path with the same content.

    Attributes:
        record: of that path.
        signature: of the content, packed.
        fresh: the content was read in this call, so that nothing of it is stored yet.
    """

    record: Record
    signature: bytes | None
    fresh: bool


class Early(NamedTuple):
    """A version of a large file that was read before its look.

    Attributes:
        snapshot: what was read.
        base: the packed signature that its delta is against.
        forced: it was to be read although a writer has it open.
    """

    snapshot: Snapshot
    base: bytes | None
    forced: bool = False

    def against(self, base: bytes | None) -> Snapshot:
        """Return what was read; without its delta if the version below it was replaced meanwhile."""
        if self.snapshot.is_delta and self.base != base:
            return replace(self.snapshot, ops=None, is_delta=False)
        return self.snapshot


class Contents:
    """Reads the files of one tree.

    Args:
        source: the files.
        catalog: what was known of them.
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
        """Paths are looked at because of events before now: what is read from now on is current for all names of an inode.

        Args:
            walked: they were met on a walk, so that a directory above them may have been renamed.
        """
        self._read.clear()
        self._walked = walked

    def read_ahead(self, path: bytes, *, force: bool) -> None:
        """Read a large file for the next look at it; the one call that may run beside all others.

        Raises:
            SourceError: the tree is not read any more.
        """
        base = self._base(path, self._catalog.get([path]).get(path))
        self._early[path] = Early(self._source.snapshot(path, base, force=force), base, force)

    def take_early(self, path: bytes) -> Early | None:
        """Return what was read ahead, if it was: for this look, or for none."""
        return self._early.pop(path, None)

    def look(
        self,
        seen: Seen,
        record: Record | None,
        early: Early | None,
        findings: ScanResult,
        *,
        force: bool,
        unclosed: bool,
        longest: int,
    ) -> int:
        """Read a file if its record may be wrong; return the bytes of content that were kept.

        Args:
            seen: the file as it stands.
            record: what was known of it.
            early: what was read of it ahead.
            findings: to which is added what comes of it.
            force: take a consistent snapshot even if a writer has it open.
            unclosed: no event says that a writer has closed it: what is open is no news then.
            longest: bytes; a larger file that was not read ahead is left for `ScanResult.large`.
        """
        if seen.entry.size > self._max_size:
            problem = f"larger than tree.max_file_size ({self._max_size} bytes)"
            _failed(seen, record, problem, findings)
            return 0
        if record is not None and same(record, seen):
            return 0
        if early is None and (twin := self._twin(seen, record)) is not None:
            self._take_twin(seen, record, twin, findings)
            return 0
        if early is None and seen.entry.size > longest:
            if unclosed and not force:
                findings.unsettled.append(seen.path)
                return 0
            findings.large.append(LargeFile(seen.path, force, seen.entry.size))
            _known_to_exist(seen, record, BEING_READ, findings)
            return 0
        if record is not None and record.stamp.inode != seen.stamp.inode:
            findings.siblings += siblings(self._catalog, seen.path, record.stamp.inode)
        base = self._base(seen.path, record)
        if early is None:
            snapshot = self._source.snapshot(seen.path, base, force=force, unclosed=unclosed)
        else:
            snapshot = early.against(base)
            if snapshot.stamp not in (seen.stamp, None):
                findings.siblings.append(seen.path)  # it has changed since; it rests first
            force = early.forced
        if snapshot.verdict is Verdict.BUSY and unclosed:
            findings.unsettled.append(seen.path)
            return 0
        return self._note(seen, record, snapshot, findings, force=force)

    def _twin(self, seen: Seen, record: Record | None) -> Twin | None:
        """Return another path that holds this very content: a name of the same inode whose stamp is the same."""
        stamp = seen.stamp
        is_same_file = record is not None and record.stamp.inode == stamp.inode
        if seen.links == 1 and (is_same_file or not self._walked):
            # An event tells of a rename; to ask the catalog for each upload takes 20 us.
            return None
        read = self._read.get(stamp.inode)
        if read is not None and read[0].stamp == stamp and read[0].path != seen.path:
            return Twin(*read, fresh=True)
        names = siblings(self._catalog, seen.path, stamp.inode)[:MOST_TWINS]
        for known in (self._catalog.get(names) if names else {}).values():
            if known.stamp == stamp and known.stable and known.entry.digest and not known.problem:
                return Twin(known, self._catalog.signature(known.path), fresh=False)
        return None

    def _take_twin(
        self, seen: Seen, record: Record | None, twin: Twin, findings: ScanResult
    ) -> None:
        entry = seen.entry._replace(digest=twin.record.entry.digest)
        ambiguous = record is not None and is_ambiguous(record, entry)
        taken = twin.record._replace(path=seen.path, entry=entry, ambiguous=ambiguous)
        if not taken.stable:
            findings.unstable.append(taken)
        if record is not None and record.stamp.inode != seen.stamp.inode:
            findings.siblings += siblings(self._catalog, seen.path, record.stamp.inode)
        if record is not None and record.entry == taken.entry and not record.problem:
            findings.records.append(taken)
            return
        apart = seen.links > 1  # names of one file here are files of their own there
        usable = not twin.record.ambiguous and not (apart and entry.size > LARGE)
        path = twin.record.path if usable else b""
        findings.updates.append(Update(taken, record, twin=path, fresh=twin.fresh, apart=apart))
        findings.signatures[seen.path] = twin.signature

    def _left_behind(self, seen: Seen, snapshot: Snapshot) -> list[bytes]:
        """Return the other names of a file for which this version is new.

        The rest must not be looked at again: two names whose stamps are never believed, because their time lies ahead, would
        ask for each other for ever.
        """
        names = siblings(self._catalog, seen.path, seen.stamp.inode)
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
        findings: ScanResult,
        *,
        force: bool,
    ) -> int:
        if snapshot.verdict is Verdict.READ:
            if seen.links > 1:
                findings.siblings += self._left_behind(seen, snapshot)
            size = _took(seen.path, snapshot, record, findings)
            if seen.links > 1 and snapshot.entry is not None and snapshot.stamp is not None:
                read = Record(seen.path, snapshot.entry, snapshot.stamp, snapshot.stable)
                self._read[snapshot.stamp.inode] = read, snapshot.signature
            return size
        if snapshot.verdict is Verdict.TORN and force:
            _failed(seen, record, RESTLESS, findings)
        elif snapshot.verdict is Verdict.FAILED:
            _failed(seen, record, snapshot.problem, findings)
        else:
            findings.unsettled.append(seen.path)
            _known_to_exist(seen, record, BEING_WRITTEN, findings)
        return 0


def _failed(seen: Seen, record: Record | None, problem: str, findings: ScanResult) -> None:
    """Record that a file cannot be sent, and why; if that is known already, nothing has changed."""
    failed = Record(seen.path, seen.entry._replace(digest=b""), NO_STAMP, problem=problem)
    if failed == record:
        findings.unread.append(failed)
    else:
        findings.updates.append(Update(failed, record))


def _known_to_exist(seen: Seen, record: Record | None, why: str, findings: ScanResult) -> None:
    """Record a new file before its content is known, so that no reconcile takes it for deleted."""
    if record is None:
        placeholder = Record(seen.path, seen.entry, NO_STAMP, problem=why)
        findings.updates.append(Update(placeholder, None))


def _took(path: bytes, snapshot: Snapshot, record: Record | None, findings: ScanResult) -> int:
    assert snapshot.entry is not None  # what READ means
    assert snapshot.stamp is not None
    ambiguous = record is not None and is_ambiguous(record, snapshot.entry)
    taken = Record(path, snapshot.entry, snapshot.stamp, snapshot.stable, ambiguous=ambiguous)
    if not snapshot.stable:
        findings.unstable.append(taken)
    if record is not None and record.entry == taken.entry and not record.problem:
        findings.records.append(taken)
        return 0
    findings.updates.append(Update(taken, record, snapshot.ops, snapshot.is_delta))
    findings.signatures[path] = snapshot.signature
    return sum(len(op.data) for op in snapshot.ops or () if isinstance(op, Literal))


def is_ambiguous(record: Record, entry: Entry) -> bool:
    """Return True if a content has changed, now or before, while size and mtime stayed as they are."""
    was = record.entry
    alike = was.kind == entry.kind and was.size == entry.size and was.mtime_ns == entry.mtime_ns
    return alike and (record.ambiguous or (bool(was.digest) and was.digest != entry.digest))
