"""Scans a directory: walks it alongside the catalog, and checks the paths where the two differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from replicator.core import guard
from replicator.engine.ingest.checker import CHUNK_PATHS, Checker
from replicator.engine.ingest.records import (
    RecordCursor,
    is_unchanged,
    is_unlisted,
    records_below,
)
from replicator.engine.ingest.scan_result import ScanResult, Update
from replicator.errors import SourceError
from replicator.model import DIRECTORY, ROOT, Unlisted, is_below

WALKED = 500
"""Paths that are walked without a difference, 10 us each, or missing ones, before the caller may do other work."""


def scan(checker: Checker, below: bytes, *, confirmed: bool = False) -> Iterator[ScanResult]:
    """Walk a directory and check every path below it where a stat differs from the catalog.

    Recorded symlinks are checked after all other paths, because they may lead to files that are found later. Paths that have
    vanished are checked last, when their number is known. Below a directory that cannot be listed, nothing is
    deleted.

    Args:
        checker: checks the paths, and stores what it finds.
        below: the directory.
        confirmed: an operator has confirmed that the source is right as it is.

    Raises:
        SourceError: the root is in doubt, or has lost everything that was recorded.
    """
    differing: list[bytes] = []
    vanished: list[bytes] = []
    symlinks: list[bytes] = []
    listed = [below] if below else []
    records = RecordCursor(records_below(checker.catalog, below))
    # In an empty catalog, no new file has another name; to ask for it takes 10 us.
    check = partial(_check, checker, walked=below != ROOT or not records.is_at_end)
    met = yielded = 0
    for seen in checker.source.walk(below):
        yield from _note(records.before(seen.path), vanished)
        record = records.at(seen.path)
        if isinstance(seen, Unlisted):
            records.skip_below(seen.path)
            for paths in (listed, differing):
                if paths and paths[-1] == seen.path:
                    paths.pop()
            yield _unlisted(checker, seen)
            continue
        met += 1
        if record is not None and is_unlisted(record) and seen.entry.kind == DIRECTORY:
            listed.append(seen.path)
            record = record._replace(problem="")
        too_large = seen.entry.size > checker.max_file_size  # the limit may have changed
        if record is None or too_large or not is_unchanged(record, seen):
            differing.append(seen.path)
        if len(differing) >= CHUNK_PATHS:
            yield from check(differing, symlinks)
            differing.clear()
            yielded = met
        elif met - yielded >= WALKED:
            yield ScanResult()
            yielded = met
    yield from _note(records.rest(), vanished)
    yield from check(differing, symlinks)
    yield from check(symlinks)
    yield _listed(checker, listed)
    if below == ROOT:
        _accept(checker, known=records.count, met=met, vanished=len(vanished), confirmed=confirmed)
    is_below_missing = vanished and _is_missing(checker, below)
    yield from _check_vanished(checker, [below] if is_below_missing else vanished)


def _check(
    checker: Checker, paths: list[bytes], symlinks: list[bytes] | None = None, *, walked: bool
) -> Iterator[ScanResult]:
    """Check paths; add recorded symlinks to `symlinks` instead, if it is given."""
    for found in checker.check(paths, walked=walked, symlinks=None if symlinks is None else {}):
        if symlinks is not None:
            symlinks += found.put_off
            found.put_off = {}
        found.is_last = False
        yield found


def _note(paths: Iterable[bytes], noted: list[bytes]) -> Iterator[ScanResult]:
    """Add paths to a list; yield after WALKED of them."""
    for number, path in enumerate(paths, 1):
        noted.append(path)
        if number % WALKED == 0:
            yield ScanResult()


def _check_vanished(checker: Checker, paths: list[bytes]) -> Iterator[ScanResult]:
    """Check paths, which are in key order, WALKED at a time; leave out those below a directory that this finds to be missing."""
    missing = ROOT
    for start in range(0, len(paths), WALKED):
        some = paths[start : start + WALKED]
        some = [path for path in some if not missing or not is_below(path, missing)]
        for found in checker.check(some):
            missing = found.missing[-1] if found.missing else missing
            found.is_last = False
            yield found
        if not some:
            yield ScanResult()


def _is_missing(checker: Checker, directory: bytes) -> bool:
    """Return True if the directory that was walked does not exist (any more), so that all below it is missing with it."""
    try:
        return checker.defers and directory != ROOT and checker.source.stat(directory) is None
    except OSError:
        return False


def _accept(checker: Checker, *, known: int, met: int, vanished: int, confirmed: bool) -> None:
    """Record the identity of the root after a full walk; reject the walk if the source is in doubt."""
    identity = checker.source.check_root()
    replaced = identity.differs_from(checker.catalog.root_identity())
    doubt = guard.rejection(known=known, met=met, vanished=vanished, replaced=replaced)
    if doubt and not confirmed:
        checker.source.set_doubt(doubt)
        raise SourceError(doubt)
    checker.catalog.set_root_identity(identity)


def _unlisted(checker: Checker, seen: Unlisted) -> ScanResult:
    """Record that a directory's content is unknown: nothing below it is deleted until it can be listed again."""
    if seen.path == ROOT:
        raise SourceError(f"the source cannot be listed: {seen.reason}")
    record = checker.catalog.get([seen.path]).get(seen.path)
    found = ScanResult()
    checker.check_path(seen.path, record, found)  # it may not be a directory any more
    found.unlisted.clear()
    latest = next((update.record for update in found.updates), record)
    deleted = found.gone or found.forgotten
    if latest and latest.entry.kind == DIRECTORY and not deleted:
        if latest.problem == seen.reason:
            found.unread.append(latest)
        else:
            found.updates = [Update(latest._replace(problem=seen.reason), record)]
    return checker.writer.store(found)


def _listed(checker: Checker, paths: Iterable[bytes]) -> ScanResult:
    """Record that directories could be listed again."""
    records = checker.catalog.get(list(paths)).values()
    updates = [
        Update(record._replace(problem=""), record) for record in records if is_unlisted(record)
    ]
    return checker.writer.store(ScanResult(updates=updates))
