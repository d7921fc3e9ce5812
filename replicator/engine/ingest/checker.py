"""Checks paths of the source: reads what changed, updates the catalog, and returns the changes.

Runs in a worker thread, one call at a time for a tree. Whatever is found is stored in the catalog before it is published: a daemon that
dies in between finds the difference again when it compares the frontends with the catalog.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from replicator.engine.ingest.catalog_writer import CatalogWriter
from replicator.engine.ingest.contents import HUGE, LARGE, Contents
from replicator.engine.ingest.records import is_unchanged, is_unlisted
from replicator.engine.ingest.scan_result import ScanResult, Update
from replicator.errors import SourceError
from replicator.model import DIRECTORY, FILE, ROOT, SYMLINK, Stamp, ancestors, is_below, key
from replicator.ports import Catalog, Record, Seen, Source

CHUNK_PATHS = 64
CHUNK_BYTES = 8 << 20
"""A chunk is published as soon as it has so many paths or so much content: bounds memory, and lets sending overlap with reading."""


class Checker:
    """Checks paths of one tree.

    Args:
        source: the files.
        catalog: the records.
        max_file_size: bytes; larger files are recorded as unreadable.
        deleting: see `CatalogWriter`.

    Attributes:
        source, catalog, max_file_size: as given.
        writer: stores what the checks find.
        contents: reads the files.
        defers: True if some paths are left to a second check, which the caller makes: large files, after they were read in the
            background (`ScanResult.large`); missing paths, before it calls `CatalogWriter.remove` (`ScanResult.missing`); and directories
            that may have been renamed, after it has called `accept_as_new` for those that were not (`ScanResult.arriving`).
        longest: bytes; larger files are left to a background read.
    """

    def __init__(
        self,
        source: Source,
        catalog: Catalog,
        max_file_size: int = sys.maxsize,
        deleting: Callable[[Sequence[bytes]], None] = lambda _: None,
    ) -> None:
        self.source = source
        self.catalog = catalog
        self.max_file_size = max_file_size
        self.writer = CatalogWriter(source, catalog, deleting)
        self.contents = Contents(source, catalog, max_file_size)
        self.defers = False
        self.longest = sys.maxsize
        self._new: set[bytes] = set()

    def defer_huge(self) -> None:
        """From now on leave huge files to background reads: the first scan of a tree must not wait for one."""
        self.longest = HUGE

    def defer(self) -> None:
        """From now on leave large files to background reads, and missing paths to a later check."""
        self.longest = LARGE
        self.defers = True

    def accept_as_new(self, path: bytes) -> None:
        """Let the next check treat a directory as new: no rename led to it."""
        self._new.add(path)

    def check(
        self,
        paths: Iterable[bytes],
        *,
        force: bool = False,
        unclosed: bool = False,
        walked: bool = False,
        symlinks: Mapping[bytes, Stamp] | None = None,
    ) -> Iterator[ScanResult]:
        """Check paths, chunk by chunk; where a directory is gone, also the paths below it.

        Args:
            paths: the paths.
            force: take a consistent snapshot of a file even if a process has it open for writing.
            unclosed: no close event followed the last write.
            walked: the paths were found by a walk of the source: a new one may be another name of a recorded file.
            symlinks: recorded symlinks that have changed are left to a later call (`ScanResult.put_off`), unless their stamps are
                these; None: all are checked.

        Raises:
            SourceError: the root is in doubt; nothing of the chunk was stored.
        """
        self.contents.begin(walked=walked)
        ordered = sorted(set(paths), key=key)
        missing = arriving = ROOT
        for start in range(0, len(ordered), CHUNK_PATHS):
            chunk = ordered[start : start + CHUNK_PATHS]
            records = self.catalog.get(chunk)
            above = self.unrecorded_above(path for path in chunk if path not in records)
            above = [path for path in above if path not in records]  # the others are in the chunk
            records |= self.catalog.get(above) if above else {}
            found, size = ScanResult(), 0
            has_parents = self.defers or records
            parents = self.catalog.parents_among(above + chunk) if has_parents else set()
            if symlinks is not None:
                found.put_off = self._changed_symlinks(chunk, records, symlinks)
            if found.put_off:
                chunk = [path for path in chunk if path not in found.put_off]
            for path in above + chunk:
                if missing and is_below(path, missing):
                    continue  # missing with its directory, or scanned when that exists again
                if arriving and is_below(path, arriving):
                    found.arriving.append(path)
                    continue
                record = records.get(path)
                size += self.check_path(
                    path, record, found, force=force, unclosed=unclosed, is_parent=path in parents
                )
                if found.missing:
                    missing = found.missing[-1]
                if found.arriving[-1:] == [path]:
                    arriving = path
                if size > CHUNK_BYTES:
                    yield self.writer.store(found)
                    found, size = ScanResult(), 0
                    # The caller may have checked some of the other paths meanwhile.
                    records = self.catalog.get(above + chunk)
                    parents = self.catalog.parents_among(above + chunk)
            found.is_last = start + CHUNK_PATHS >= len(ordered)
            yield self.writer.store(found)

    def _changed_symlinks(
        self, paths: list[bytes], records: dict[bytes, Record], known: Mapping[bytes, Stamp]
    ) -> dict[bytes, Stamp]:
        """Return the stamps of recorded symlinks that lead elsewhere now, except those with a known stamp."""
        changed = {}
        for path in _symlinks(paths, records):
            try:
                seen = self.source.stat(path)
            except OSError:
                continue
            if seen is None or seen.entry.kind != SYMLINK:
                continue
            if seen.stamp not in (records[path].stamp, known.get(path)):
                changed[path] = seen.stamp
        return changed

    def unrecorded_above(self, paths: Iterable[bytes]) -> list[bytes]:
        """Return the parents of paths that are not recorded as directories, outermost first.

        Their own checks may still be in a cooldown, and a frontend cannot create a path before its directory.
        """
        given = list(paths)
        above = sorted(
            {each for path in given for each in ancestors(path)}.difference(given), key=key
        )
        records = self.catalog.get(above) if above else {}
        return [p for p in above if p not in records or records[p].entry.kind != DIRECTORY]

    def check_path(
        self,
        path: bytes,
        record: Record | None,
        found: ScanResult,
        *,
        force: bool = False,
        unclosed: bool = False,
        is_parent: bool = True,
    ) -> int:
        """Check one path; return the bytes of content that were kept. What is found is not stored yet.

        Args:
            path: the path.
            record: its record.
            found: the result to add to.
            force: take a consistent snapshot of a file even if a process has it open for writing.
            unclosed: no close event followed the last write.
            is_parent: False: no path below it is recorded.

        Raises:
            SourceError: the root is in doubt.
        """
        if path == ROOT:
            self.source.check_root()
            if doubt := self.source.doubt(ROOT):  # found by an earlier check: only a halt ends it
                raise SourceError(doubt)
            return 0
        early = self.contents.take_early(path)
        is_new = path in self._new
        self._new.discard(path)
        try:
            seen = self.source.stat(path)
        except OSError as error:
            _failed(record, error.strerror or str(error), found)
            if record is None and not self.source.doubt(path):
                found.unsettled.append(path)  # the catalog does not remember this name
            return 0
        if seen is None:
            self._missing(path, record, found)
            return 0
        if record is None and not is_new and self._is_arriving(seen):
            found.arriving.append(path)
            return 0
        if seen.entry.kind != DIRECTORY and is_parent:
            # Also if it was not recorded as a directory: a path that flips may be a symlink at its own check, and a directory at the
            # next one, of a file below it.
            self.writer.add_deletions_below(path, self.catalog.below(path), found)
        if seen.entry.kind == FILE:
            return self.contents.read(
                seen, record, early, found, force=force, unclosed=unclosed, longest=self.longest
            )
        _check_name(seen, record, found)
        return 0

    def _is_arriving(self, seen: Seen) -> bool:
        """Return True if a new directory may be one that is recorded by another name, which is missing."""
        if not self.defers or seen.entry.kind != DIRECTORY:
            return False
        return any(self._has_left(path) for path in self.catalog.sharing(seen.stamp.inode))

    def _has_left(self, path: bytes) -> bool:
        record = self.catalog.get([path]).get(path)
        try:
            return (
                record is not None
                and record.entry.kind == DIRECTORY
                and self.source.stat(path) is None
            )
        except OSError:
            return False

    def _missing(self, path: bytes, record: Record | None, found: ScanResult) -> None:
        if not self.defers:
            self.writer.add_deletion(path, record, found)
        elif record is not None or self.catalog.below(path):
            found.missing.append(path)


def _symlinks(paths: list[bytes], records: dict[bytes, Record]) -> list[bytes]:
    """Return the recorded symlinks among the paths, except those that are directories now: other paths are below them."""
    recorded = [path for path in paths if _was_symlink(records.get(path))]
    above = {each for path in paths for each in ancestors(path)} if recorded else set()
    return [path for path in recorded if path not in above]


def _was_symlink(record: Record | None) -> bool:
    return record is not None and record.entry.kind == SYMLINK


def _check_name(seen: Seen, record: Record | None, found: ScanResult) -> None:
    """Note a directory or a symlink that has changed."""
    problem = ""
    if record is not None and is_unlisted(record) and seen.entry.kind == DIRECTORY:
        problem = record.problem  # until a scan has listed it
        found.unlisted.append(seen.path)
    if (
        record is None
        or record.problem != problem
        or not is_unchanged(record._replace(problem=""), seen)
    ):
        fresh = Record(seen.path, seen.entry, seen.stamp, problem=problem)
        found.updates.append(Update(fresh, record))


def _failed(record: Record | None, reason: str, found: ScanResult) -> None:
    """Note that the path cannot be examined: the frontends keep their version, and the reason is shown."""
    if record is not None and record.problem != reason:
        found.updates.append(Update(record._replace(problem=reason), record))
    elif record is not None:
        found.unread.append(record)
