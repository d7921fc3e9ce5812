"""Follows renames inside a tree: what the catalog knows of the old name, it knows of the new one. Runs in a worker thread."""

from __future__ import annotations

from typing import NamedTuple

from replicator.engine.ingest.checker import Checker
from replicator.engine.ingest.contents import NO_STAMP, is_ambiguous
from replicator.engine.ingest.records import siblings
from replicator.engine.ingest.scan_result import ScanResult, Update
from replicator.model import DIRECTORY, FILE, MAX_DEPTH, MAX_PATH
from replicator.ports import Catalog, Record, Seen


def is_known(catalog: Catalog, path: bytes) -> bool:
    """Return True if something is recorded at a path."""
    return path in catalog.get([path])


def can_relabel(catalog: Catalog, source: bytes, target: bytes) -> bool:
    """Return True if `source` is known, and all below it would still be a path as `target`."""
    if source not in catalog.get([source]):
        return False
    longer, deeper = len(target) - len(source), target.count(b"/") - source.count(b"/")
    if longer <= 0 and deeper <= 0:
        return True
    return all(
        len(path) + longer <= MAX_PATH and path.count(b"/") + deeper < MAX_DEPTH
        for path in [source, *catalog.below(source)]
    )


class Followed(NamedTuple):
    """What became of a rename.

    Attributes:
        relabelled: the directory, and all below it, is known by its new name.
        found: what is to be told of a file.
    """

    relabelled: bool = False
    found: ScanResult | None = None


def follow(checker: Checker, source: bytes, target: bytes, *, may_relabel: bool) -> Followed:
    """Know what was renamed by its new name, as far as that is certain; the looks that follow find the rest.

    The old name of a file stays known, until it is believed gone: it may be there again. A directory is relabelled only if its old
    name is missing and its new one was not known, so that no name that exists goes missing.

    Raises:
        SourceError: the root is in doubt; nothing was done.
    """
    catalog = checker.catalog
    records = catalog.get([source, target])
    origin, over = records.get(source), records.get(target)
    seen = _look(checker, target)
    if origin is None or seen is None or not _is_it(origin, seen):
        return Followed()
    if origin.entry.kind == FILE:
        return Followed(found=_link(checker, origin, over, target))
    if origin.entry.kind != DIRECTORY or not may_relabel or over is not None:
        return Followed()
    if _look(checker, source) is not None or not can_relabel(catalog, source, target):
        return Followed()
    checker.source.check_root()
    catalog.move(source, target)
    return Followed(relabelled=True)


def _look(checker: Checker, path: bytes) -> Seen | None:
    try:
        return checker.source.look(path)
    except OSError:
        return None


def _is_it(origin: Record, seen: Seen) -> bool:
    """Return True if what was recorded is what was seen, as far as a rename leaves a stamp alone."""
    was, now = origin.stamp, seen.stamp
    alike = (was.inode, was.mtime_ns, was.size) == (now.inode, now.mtime_ns, now.size)
    same_inode = was.inode == now.inode and origin.entry.kind == seen.entry.kind
    return same_inode and (alike or origin.entry.kind == DIRECTORY)


def _link(
    checker: Checker, origin: Record, over: Record | None, target: bytes
) -> ScanResult | None:
    """Record a renamed file by its new name, beside its old one."""
    if origin.problem or not origin.entry.digest:
        return None
    if over is not None and (over.entry.kind == DIRECTORY or over.entry == origin.entry):
        return None
    ambiguous = over is not None and is_ambiguous(over, origin.entry)
    taken = origin._replace(path=target, stable=False, ambiguous=ambiguous)
    twin = b"" if origin.ambiguous else origin.path
    # Under its old name the file is none that can be looked at: it must not be read again when that is believed gone.
    left = origin._replace(stamp=NO_STAMP, stable=False)
    found = ScanResult(updates=[Update(taken, over, twin=twin)], records=[left])
    found.signatures[target] = checker.catalog.signature(origin.path)
    if over is not None and over.entry.kind == FILE:
        found.siblings += siblings(checker.catalog, target, over.stamp.inode)
    return checker.store(found)
