"""Walks a directory of the source beside the catalog, and looks where they differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from replicator.core import guard
from replicator.engine.ingest.checker import CHUNK_PATHS, Checker
from replicator.engine.ingest.records import Ahead, is_unlisted, records_below, same
from replicator.engine.ingest.scan_result import ScanResult, Update
from replicator.errors import SourceError
from replicator.model import DIRECTORY, ROOT, Unlisted

WALKED = 500
"""Paths that are walked without a difference, 10 us each, before the caller may do something else."""


def scan(checker: Checker, below: bytes, *, believed: bool = False) -> Iterator[ScanResult]:
    """Walk a directory and look at every path below it where source and catalog differ at first sight.

    What has vanished is looked at last, when it is known how much that is. Below a directory that cannot be listed
    nothing is touched.

    Args:
        checker: looks, and stores what it finds.
        below: the directory.
        believed: a person has said that the source is right as it is.

    Raises:
        SourceError: the root is in doubt, or has lost everything that was known.
    """
    differing: list[bytes] = []
    vanished: list[bytes] = []
    listed = [below] if below else []
    known = Ahead(records_below(checker.catalog, below))
    met = told = 0
    for seen in checker.source.walk(below):
        vanished.extend(known.before(seen.path))
        record = known.at(seen.path)
        if isinstance(seen, Unlisted):
            known.skip_below(seen.path)
            for hasty in (listed, differing):
                if hasty and hasty[-1] == seen.path:
                    hasty.pop()
            yield _unlisted(checker, seen)
            continue
        met += 1
        if record is not None and is_unlisted(record) and seen.entry.kind == DIRECTORY:
            listed.append(seen.path)
            record = record._replace(problem="")
        too_large = seen.entry.size > checker.max_file_size  # the limit may be new
        if record is None or too_large or not same(record, seen):
            differing.append(seen.path)
        if len(differing) >= CHUNK_PATHS:
            yield from checker.check(differing, walked=True)
            differing.clear()
            told = met
        elif met - told >= WALKED:
            yield ScanResult()
            told = met
    vanished.extend(known.rest())
    yield from checker.check(differing, walked=True)
    yield _listed(checker, listed)
    if below == ROOT:
        _judge(checker, known=known.count, met=met, vanished=len(vanished), believed=believed)
    missed = vanished and _is_missing(checker, below)
    yield from checker.check([below] if missed else vanished)


def _is_missing(checker: Checker, directory: bytes) -> bool:
    """Return True if the directory that was walked is not there (any more), so that all below it is missing with it."""
    try:
        return checker.defers and directory != ROOT and checker.source.look(directory) is None
    except OSError:
        return False


def _judge(checker: Checker, *, known: int, met: int, vanished: int, believed: bool) -> None:
    """Refuse a full walk's result if the source is in doubt; else remember which directory it was."""
    identity = checker.source.check_root()
    replaced = identity.differs_from(checker.catalog.root_identity())
    doubt = guard.doubt(known=known, met=met, vanished=vanished, replaced=replaced)
    if doubt and not believed:
        checker.source.set_doubt(doubt)
        raise SourceError(doubt)
    checker.catalog.set_root_identity(identity)


def _unlisted(checker: Checker, found: Unlisted) -> ScanResult:
    """Record that a directory's content is unknown: nothing below it is deleted until it can be listed again."""
    if found.path == ROOT:
        raise SourceError(f"the source cannot be listed: {found.reason}")
    record = checker.catalog.get([found.path]).get(found.path)
    findings = ScanResult()
    checker.look(found.path, record, findings)  # perhaps it is no directory any more
    findings.unlisted.clear()
    latest = next((update.record for update in findings.updates), record)
    lost = findings.gone or findings.forgotten
    if latest and latest.entry.kind == DIRECTORY and not lost:
        if latest.problem == found.reason:
            findings.unread.append(latest)
        else:
            findings.updates = [Update(latest._replace(problem=found.reason), record)]
    return checker.store(findings)


def _listed(checker: Checker, paths: Iterable[bytes]) -> ScanResult:
    """Record that directories have been listed after all."""
    records = checker.catalog.get(list(paths)).values()
    updates = [
        Update(record._replace(problem=""), record) for record in records if is_unlisted(record)
    ]
    return checker.store(ScanResult(updates=updates))
