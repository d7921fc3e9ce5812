"""A rename inside a tree is a relabelling of what the catalog knows. Runs in a worker thread."""

from __future__ import annotations

from replicator.engine.examine import Examiner
from replicator.model import DIRECTORY, MAX_DEPTH, MAX_PATH
from replicator.ports import Catalog


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


def relabel(examiner: Examiner, source: bytes, target: bytes) -> list[bytes]:
    """Know `source`, and all below it, as `target`; return what stood in the way there, children before parents.

    A directory cannot be renamed over something, nor something over a directory: what was there goes first.

    Raises:
        SourceError: the root is in doubt; nothing was done.
    """
    examiner.source.check_root()
    catalog = examiner.catalog
    records = catalog.get([source, target])
    over = records.get(target)
    in_the_way: list[bytes] = []
    if over is not None and DIRECTORY in (over.entry.kind, records[source].entry.kind):
        in_the_way = [*reversed(catalog.below(target)), target]
    catalog.move(source, target)
    examiner.found(source)
    return in_the_way
