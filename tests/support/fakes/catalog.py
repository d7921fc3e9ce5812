"""A catalog in memory."""

import threading

from replicator.catalog.digests import DirectoryDigests
from replicator.model import (
    DIRECTORY,
    FILE,
    Stamp,
    is_below,
    is_within,
    join,
    key,
    rebase,
)
from replicator.ports import NOTHING, Child, Record
from tests.support.fakes.catalog_state import CatalogState
from tests.support.fakes.past import PastVersions


class FakeCatalog(CatalogState):
    """A catalog in dicts. Passes tests/contract/test_catalog.py.

    Attributes:
        renaming, digests: see ports.Catalog.
        records: the records by path.
        signatures: the packed signatures by path.
        applied: number of calls of `apply`.
        failure: if set, every method raises a SourceError with this text.
    """

    def __init__(self):
        super().__init__()
        self._past = PastVersions()
        self.renaming = threading.Lock()
        self.digests = DirectoryDigests(self.children, self.get)
        self.signatures = {}
        self.applied = 0

    def get(self, paths):
        with self._using():
            return {path: self.records[path] for path in paths if path in self.records}

    def scan(self, after, until, limit):
        low = b"" if after is None else key(after)
        with self._using():
            ordered = sorted((key(path), record) for path, record in self.records.items())
        found = [r for k, r in ordered if (after is None or k > low)]
        if until is not None:
            found = [record for record in found if key(record.path) <= key(until)]
        return found[:limit]

    def children(self, directory, after, limit):
        with self._using():
            below = [path[len(join(directory, b"x")) - 1 :] for path in self._below(directory)]
            records = {
                name: self.records[join(directory, name)] for name in below if b"/" not in name
            }
        found = [_child(name, record) for name, record in records.items()]
        directories = {child.name for child in found if child.kind == DIRECTORY}
        orphans = {name.partition(b"/")[0] for name in below if b"/" in name} - directories
        found += [Child(name, NOTHING, 0, 0, 0, b"", is_known=False) for name in orphans]
        found.sort(key=lambda child: child.name)  # stable: after a file of the same name
        return found[found.index(after) + 1 if after else 0 :][:limit]

    def below(self, directory):
        with self._using():
            return self._below(directory)

    def parents_among(self, paths):
        with self._using():
            return {path for path in paths if self._below(path)}

    def sharing(self, inode):
        with self._using():
            return self._sharing(inode)

    def sharing_below(self, directory):
        with self._using():
            below = [self.records[path] for path in self._below(directory)]
            inodes = {r.stamp.inode for r in below if r.entry.kind == FILE} - {-1}
            found = {path for inode in inodes for path in self._sharing(inode)}
            return sorted((p for p in found if not is_below(p, directory)), key=key)

    def apply(self, records, gone, signatures):
        new = {record.path: record for record in records}
        with self._using():
            self.applied += 1
            for path in gone:
                self._past.remember(self.records.get(path))
                self.records.pop(path, None)
                self.signatures.pop(path, None)
            for path, record in new.items():
                self._past.replaced(self.records.get(record.path), record)
                self.records[path] = self._past.marked(record)
                if record.entry.kind != FILE:
                    self.signatures.pop(path, None)
            for path, signature in signatures.items():
                self.signatures[path] = signature
                if signature is None:
                    del self.signatures[path]
        self.digests.changed.written(records, gone)

    def move(self, source, target):
        if source == target:
            return
        with self._using():
            for path in [p for p in self.records if is_within(p, source) or is_within(p, target)]:
                self._past.remember(self.records.get(path))
            records, signatures = (
                {p: kept.pop(p) for p in list(kept) if is_within(p, source)}
                for kept in (self.records, self.signatures)
            )
            for kept in (self.records, self.signatures):
                for path in [p for p in kept if is_within(p, target)]:
                    del kept[path]
            for path, record in records.items():
                to = rebase(path, source, target)
                self.records[to] = self._past.marked(record._replace(path=to))
            for path, signature in signatures.items():
                self.signatures[rebase(path, source, target)] = signature
        self.digests.changed.moved(source, target)

    def signature(self, path):
        with self._using():
            return self.signatures.get(path)

    def counts(self):
        with self._using():
            return len(self.records), sum(r.entry.size for r in self.records.values())

    def version(self):
        return hash(tuple(self.records.items()))

    def put(self, path, entry, stamp=None, problem=""):
        """Store a record directly."""
        stamp = stamp or Stamp(entry.size, entry.mtime_ns, entry.mtime_ns, 1)
        self.records[path] = Record(path, entry, stamp, problem=problem)
        self.digests.changed.written([self.records[path]], [])

    def _below(self, directory):
        return sorted((p for p in self.records if is_below(p, directory)), key=key)

    def _sharing(self, inode):
        return sorted((p for p, r in self.records.items() if r.stamp.inode == inode), key=key)


def _child(name, record):
    kind, mode, size, mtime_ns, link, _ = record.entry
    return Child(name, kind, mode, size, mtime_ns, link, not record.ambiguous)
