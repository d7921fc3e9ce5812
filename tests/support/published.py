"""Trees that are published, and what can be restored from a store."""

import hashlib
import os

from replicator.base.layout import (
    MANIFESTS,
    MAX_JSON,
    TREES,
    Pointer,
    manifest_name,
    pack_name,
)
from replicator.core.filters import Filter
from replicator.model import DIRECTORY, FILE
from replicator.ports import Record, Verdict
from replicator.source.tree import SourceTree
from replicator.wire.manifest import Named, Pack, Totals, decode
from tests.support.fakes.catalog import FakeCatalog


class PublishedTree:
    """A directory with a catalog, as the publisher reads it.

    Attributes:
        comparable: True if the source was scanned.
        delete: True if deletions are sent.
        deletes: True if they are sent now.
    """

    mode_bits = 0o1777

    def __init__(self, root):
        self.root = os.fsencode(root)
        self.directory = root
        self.source = SourceTree(self.root, filter=Filter(()), multiplier=3)
        self.catalog = FakeCatalog()
        self.comparable = True
        self.delete = self.deletes = True

    def scan(self):
        """Make the catalog record what the directory holds."""
        found = {}
        for seen in self.source.walk(b""):
            if seen.entry.kind == FILE:
                taken = self.source.snapshot(seen.path, None)
                assert taken.verdict is Verdict.READ
                found[seen.path] = Record(seen.path, taken.entry, taken.stamp)
            else:
                found[seen.path] = Record(seen.path, seen.entry, seen.stamp)
        self.catalog.records = found
        return self

    def close(self):
        self.source.close()


def write(directory, files):
    """Write files, each given by its path and content."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def pointers(store):
    return [Pointer.decode(store.get(one.name, MAX_JSON)) for one in list(store.list(TREES))]


def restored(store, manifest):
    """Return what a frontend would restore: path to (kind, mode, mtime, content or link target).

    Every digest and size is verified; AssertionError if anything is missing or torn.
    """
    data = store.get(manifest_name(manifest), 1 << 30)
    assert data is not None, "the manifest is missing"
    assert hashlib.sha256(data).digest() == manifest, "the manifest is torn"
    packs, found, bodies, totals = [], {}, {}, None
    for block in decode([data]):
        if isinstance(block, Totals):
            totals = block
        elif isinstance(block[0], Pack):
            packs += block
        else:
            for row in block:
                path, entry = row[:2]
                content = entry.link
                if not isinstance(row, Named):
                    if row.pack not in bodies:
                        bodies[row.pack] = _pack(store, packs[row.pack])
                    content = bodies[row.pack][row.offset : row.offset + entry.size]
                    assert hashlib.sha256(content).digest() == entry.digest, f"{path} is torn"
                found[path] = entry.kind, entry.mode, entry.mtime_ns, content
    assert totals.rows == len(found)
    return found


def _pack(store, pack):
    body = store.get(pack_name(pack.digest), 1 << 30)
    assert body is not None, "a pack is missing"
    assert len(body) == pack.size
    assert hashlib.sha256(body).digest() == pack.digest, "a pack is torn"
    return body


def held(tree):
    """Return what a tree's catalog records, as `restored` does."""
    found = {}
    for path, record in tree.catalog.records.items():
        entry = record.entry
        content = (
            (tree.directory / os.fsdecode(path)).read_bytes() if entry.kind == FILE else entry.link
        )
        mode = entry.mode & tree.mode_bits
        found[path] = entry.kind, mode, entry.mtime_ns, b"" if entry.kind == DIRECTORY else content
    return found


def manifests(store):
    return [one.name for one in store.list(MANIFESTS)]
