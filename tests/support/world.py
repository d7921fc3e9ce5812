"""A real source directory, a real catalog, and a Checker."""

import os

from replicator.catalog.store import CatalogStore
from replicator.core.filters import Filter
from replicator.engine.ingest.checker import Checker
from replicator.engine.ingest.scan import scan
from replicator.source.tree import SourceTree


class World:
    """A source directory, its catalog, and a Checker that compares them."""

    def __init__(self, directory, exclude=()):
        self.root = directory / "source"
        self.root.mkdir(exist_ok=True)
        self.store = CatalogStore.open(directory / "catalog.sqlite")
        self.catalog = self.store.tree(os.fsencode(self.root))
        self.source = SourceTree(
            os.fsencode(self.root), filter=Filter(exclude), multiplier=self.store.multiplier
        )
        self.checker = Checker(self.source, self.catalog)

    def write(self, name, content=b"content"):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def record(self):
        """Scan, and record all stamps as stable, so that unchanged files are not read again."""
        self.scan()
        records = [record._replace(stable=True) for record in self.catalog.scan(None, None, 10_000)]
        self.catalog.apply(records, (), {})

    def scan(self, below=b""):
        return self.merge(scan(self.checker, below))

    def check(self, *paths):
        return self.merge(self.checker.check(paths))

    def merge(self, results):
        found = list(results)
        updates = {update.record.path: update for one in found for update in one.updates}
        return updates, [path for one in found for path in one.gone], found

    def close(self):
        self.source.close()
        self.store.close()
