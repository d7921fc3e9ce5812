"""A rename inside a tree is a relabelling of what the catalog knows. Runs in a worker thread."""

from __future__ import annotations

from typing import NamedTuple

from replicator.engine.examine import Examiner
from replicator.engine.known import siblings
from replicator.model import DIRECTORY, FILE, MAX_DEPTH, MAX_PATH
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


class Replaced(NamedTuple):
    """What a rename has replaced.

    Attributes:
        in_the_way: what must go before it, children before parents: a directory cannot be renamed over something, nor
            something over a directory.
        siblings: other names of files that it has replaced, which may have changed under those.
    """

    in_the_way: list[bytes]
    siblings: list[bytes]


def relabel(examiner: Examiner, source: bytes, target: bytes) -> Replaced:
    """Know `source`, and all below it, as `target`; return what it has replaced there.

    Raises:
        SourceError: the root is in doubt; nothing was done.
    """
    examiner.source.check_root()
    catalog = examiner.catalog
    records = catalog.get([source, target])
    over = records.get(target)
    in_the_way: list[bytes] = []
    others: list[bytes] = []
    if over is not None and over.entry.kind == FILE:
        others = siblings(catalog, target, over.stamp.inode)
    elif over is not None and over.entry.kind == DIRECTORY:
        others = catalog.sharing_below(target)
    if over is not None and DIRECTORY in (over.entry.kind, records[source].entry.kind):
        in_the_way = [*reversed(catalog.below(target)), target]
    catalog.move(source, target)
    examiner.found(source)
    return Replaced(in_the_way, others)
