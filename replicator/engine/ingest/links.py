"""Symlinks that a rename takes along: relative ones may lead out of the tree from where they come to lie."""

from __future__ import annotations

from replicator.model import SYMLINK, admits, key, last_below, rebase
from replicator.ports import Catalog

PAGE = 1000


def may_move(catalog: Catalog, policy: str, source: bytes, target: bytes) -> bool:
    """Return True if all symlinks at and below `source` are admitted as they will lie at and below `target`.

    From the same depth or a greater one, none leads further out than before. Runs in a worker thread.
    """
    if policy != "inside" or target.count(b"/") >= source.count(b"/"):
        return True
    records = list(catalog.get([source]).values())
    after, last = source, last_below(source)
    while True:
        for path, entry in ((record.path, record.entry) for record in records):
            moved = rebase(path, source, target)
            if entry.kind == SYMLINK and not admits(policy, moved, entry.link):
                return False
        records = catalog.scan(after, last, PAGE)
        if not records or key(after) >= key(records[-1].path):
            return True
        after = records[-1].path
