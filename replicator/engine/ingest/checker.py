"""Follows up hints: looks at paths of the source, brings the catalog up to it, and says what changed.

Runs in a worker thread, one call at a time for a tree. Whatever it finds is stored in the catalog before it is told, so a
daemon that dies in between finds the difference again when it reconciles.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence

from replicator.engine.ingest.contents import HUGE, LARGE, Contents
from replicator.engine.ingest.records import is_unlisted, same, siblings
from replicator.engine.ingest.scan_result import ScanResult, Update
from replicator.errors import SourceError
from replicator.model import DIRECTORY, FILE, ROOT, SYMLINK, ancestors, is_below, key
from replicator.ports import Catalog, Record, Seen, Source

CHUNK_PATHS = 64
CHUNK_BYTES = 8 << 20
"""A chunk is told as soon as it has so many paths or so much content: bounds memory, and lets sending overlap reading."""


class Checker:
    """Looks at paths of one tree.

    Args:
        source: the files.
        catalog: what was known of them.
        max_file_size: bytes; larger files are recorded as not readable.

    Attributes:
        source, catalog, max_file_size: as given.
        contents: reads the files.
        defers: the caller looks again: at large files, which are read ahead (`ScanResult.large`) so that no look takes long,
            at paths that are missing (`ScanResult.missing`), before it calls `remove`, and at directories that may have been renamed
            (`ScanResult.arriving`), after it calls `believe` if they were not.
        longest: bytes; a larger file is left for `ScanResult.large`.
    """

    def __init__(self, source: Source, catalog: Catalog, max_file_size: int = sys.maxsize) -> None:
        self.source = source
        self.catalog = catalog
        self.max_file_size = max_file_size
        self.contents = Contents(source, catalog, max_file_size)
        self.defers = False
        self.longest = sys.maxsize
        self._believed: set[bytes] = set()

    def check(
        self,
        paths: Iterable[bytes],
        *,
        force: bool = False,
        unclosed: bool = False,
        walked: bool = False,
        symlinks: bool = True,
    ) -> Iterator[ScanResult]:
        """Look at paths (and, where a directory is gone, below), chunk by chunk.

        Args:
            paths: where.
            force: take a consistent snapshot of a file even if a writer has it open.
            unclosed: no event says that a writer has closed it.
            walked: the paths were met on a walk of the source.
            symlinks: False: leave what was a symlink for a later call (`ScanResult.put_off`).

        Raises:
            SourceError: the root is in doubt; nothing of the chunk was stored.
        """
        self.contents.begin(walked=walked)
        ordered = sorted(set(paths), key=key)
        missing = arriving = ROOT
        for start in range(0, len(ordered), CHUNK_PATHS):
            chunk = ordered[start : start + CHUNK_PATHS]
            records = self.catalog.get(chunk)
            unmet = self.unmet_above(path for path in chunk if path not in records)
            unmet = [path for path in unmet if path not in records]  # the others are in the chunk
            records |= self.catalog.get(unmet) if unmet else {}
            findings, size = ScanResult(), 0
            if not symlinks:
                findings.put_off = [path for path in chunk if _was_symlink(records.get(path))]
            if findings.put_off:
                chunk = [path for path in chunk if path not in findings.put_off]
            for path in unmet + chunk:
                if missing and is_below(path, missing):
                    continue  # missing with its directory, or walked when that is there again
                if arriving and is_below(path, arriving):
                    findings.arriving.append(path)
                    continue
                size += self.look(path, records.get(path), findings, force=force, unclosed=unclosed)
                if findings.missing:
                    missing = findings.missing[-1]
                if findings.arriving[-1:] == [path]:
                    arriving = path
                if size > CHUNK_BYTES:
                    yield self.store(findings)
                    findings, size = ScanResult(), 0
            yield self.store(findings)

    def unmet_above(self, paths: Iterable[bytes]) -> list[bytes]:
        """Return what lies above paths and is not known as a directory, outermost first.

        Their own looks may still rest, and a frontend has no place for what comes before its directory.
        """
        given = list(paths)
        above = sorted(
            {each for path in given for each in ancestors(path)}.difference(given), key=key
        )
        records = self.catalog.get(above) if above else {}
        return [p for p in above if p not in records or records[p].entry.kind != DIRECTORY]

    def look(
        self,
        path: bytes,
        record: Record | None,
        findings: ScanResult,
        *,
        force: bool = False,
        unclosed: bool = False,
    ) -> int:
        """Look at one path; return the bytes of content that were kept. What is found is not stored yet.

        Args:
            path: where.
            record: what the catalog says of it.
            findings: to which is added what is found.
            force: take a consistent snapshot of a file even if a writer has it open.
            unclosed: no event says that a writer has closed it.

        Raises:
            SourceError: the root is in doubt.
        """
        if path == ROOT:
            self.source.check_root()
            if doubt := self.source.doubt(ROOT):  # of an earlier look: only a halt ends it
                raise SourceError(doubt)
            return 0
        early = self.contents.take_early(path)
        believed = path in self._believed
        self._believed.discard(path)
        try:
            seen = self.source.look(path)
        except OSError as error:
            _in_doubt(record, error.strerror or str(error), findings)
            if record is None and not self.source.doubt(path):
                findings.unsettled.append(path)  # nothing else remembers a name that is not known
            return 0
        if seen is None:
            self._vanished(path, record, findings)
            return 0
        if record is None and not believed and self._is_arriving(seen):
            findings.arriving.append(path)
            return 0
        if seen.entry.kind != DIRECTORY and (record is not None or self.defers):
            # Also if it was none before: what flips may be a symlink at its own look, and a directory at the next one, of a
            # file below it. 8 us; the first survey can do without, it meets every record.
            self._lose_below(path, self.catalog.below(path), findings)
        if seen.entry.kind == FILE:
            return self.contents.look(
                seen, record, early, findings, force=force, unclosed=unclosed, longest=self.longest
            )
        _look_at_name(seen, record, findings)
        return 0

    def store(self, findings: ScanResult) -> ScanResult:
        """Bring the catalog up to what was found, and return that.

        Raises:
            SourceError: the root is in doubt, and with it what is gone; nothing was stored.
        """
        records = [update.record for update in findings.updates] + findings.records
        if findings.gone or findings.forgotten:
            self.source.check_root()  # a vanished root makes everything look deleted
            back = {path for r in records for path in (r.path, *ancestors(r.path))}
            findings.gone = [path for path in dict.fromkeys(findings.gone) if path not in back]
            findings.forgotten = [path for path in findings.forgotten if path not in back]
        lost = findings.gone + findings.forgotten
        if records or lost:
            self.catalog.apply(records, lost, findings.signatures)
        return findings

    def defer_huge(self) -> None:
        """From now on leave huge files for `ScanResult.large`: the survey of a tree must not wait for one."""
        self.longest = HUGE

    def defer(self) -> None:
        """From now on leave large files for `ScanResult.large`, and what is missing for a later look."""
        self.longest = LARGE
        self.defers = True

    def believe(self, path: bytes) -> None:
        """No rename led to a path: what stands there is new."""
        self._believed.add(path)

    def _is_arriving(self, seen: Seen) -> bool:
        """Return True if a directory may be one that is known by another name, which it has left."""
        if not self.defers or seen.entry.kind != DIRECTORY:
            return False
        return any(self._has_left(path) for path in self.catalog.sharing(seen.stamp.inode))

    def _has_left(self, path: bytes) -> bool:
        record = self.catalog.get([path]).get(path)
        try:
            return (
                record is not None
                and record.entry.kind == DIRECTORY
                and self.source.look(path) is None
            )
        except OSError:
            return False

    def remove(self, paths: Sequence[bytes]) -> ScanResult:
        """Forget paths that were found missing and are believed gone, with all below them; return what that is.

        Raises:
            SourceError: the root is in doubt; nothing was stored.
        """
        findings = ScanResult()
        records = self.catalog.get(paths)
        for path in paths:
            self._remove(path, records.get(path), findings)
        return self.store(findings)

    def _vanished(self, path: bytes, record: Record | None, findings: ScanResult) -> None:
        if not self.defers:
            self._remove(path, record, findings)
        elif record is not None or self.catalog.below(path):
            findings.missing.append(path)

    def _remove(self, path: bytes, record: Record | None, findings: ScanResult) -> None:
        below = self.catalog.below(path)
        if record is None:  # a rename may have put something below it before it was met itself
            self._lose_below(path, below, findings)
            return
        if record.entry.kind == FILE:
            findings.siblings += siblings(self.catalog, path, record.stamp.inode)
        if self.source.excluded(path, record.entry.kind):
            findings.forgotten += [*reversed(below), path]
            return
        self._lose_below(path, below, findings)
        findings.gone.append(path)

    def _lose_below(self, directory: bytes, below: list[bytes], findings: ScanResult) -> None:
        """What is below a directory is gone; the other names of its files may have changed under those."""
        if below:
            findings.gone.extend(reversed(below))
            findings.siblings += self.catalog.sharing_below(directory)


def _was_symlink(record: Record | None) -> bool:
    return record is not None and record.entry.kind == SYMLINK


def _look_at_name(seen: Seen, record: Record | None, findings: ScanResult) -> None:
    """Note a directory or a symlink that is not what it was."""
    problem = ""
    if record is not None and is_unlisted(record) and seen.entry.kind == DIRECTORY:
        problem = record.problem  # until a walk has seen that it is over
        findings.unlisted.append(seen.path)
    if record is None or record.problem != problem or not same(record._replace(problem=""), seen):
        fresh = Record(seen.path, seen.entry, seen.stamp, problem=problem)
        findings.updates.append(Update(fresh, record))


def _in_doubt(record: Record | None, reason: str, findings: ScanResult) -> None:
    """The kernel does not say what is there: what the frontends have stays, and the reason is shown."""
    if record is not None and record.problem != reason:
        findings.updates.append(Update(record._replace(problem=reason), record))
    elif record is not None:
        findings.unread.append(record)
