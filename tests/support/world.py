"""A real source directory, a real catalog, and an Examiner."""

import os

from replicator.catalog.sqlite import CatalogStore
from replicator.core.filters import Filter
from replicator.engine.examine import Examiner
from replicator.engine.survey import survey
from replicator.source.tree import SourceTree


class World:
    """A source directory, its catalog, and an Examiner that compares them."""

    def __init__(self, directory, exclude=()):
        self.root = directory / "source"
        self.root.mkdir(exist_ok=True)
        self.store = CatalogStore.open(directory / "catalog.sqlite")
        self.catalog = self.store.tree(os.fsencode(self.root))
        self.source = SourceTree(
            os.fsencode(self.root), filter=Filter(exclude), multiplier=self.store.multiplier
        )
        self.examiner = Examiner(self.source, self.catalog)

    def write(self, name, content=b"content"):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def settle(self):
        """Scan, and treat all files as old, so that their stamps are trusted at once."""
        self.survey()
        records = [record._replace(firm=True) for record in self.catalog.scan(None, None, 10_000)]
        self.catalog.apply(records, (), {})

    def survey(self, below=b""):
        return self.gather(survey(self.examiner, below))

    def examine(self, *paths):
        return self.gather(self.examiner.examine(paths))

    def gather(self, findings):
        found = list(findings)
        updates = {update.record.path: update for one in found for update in one.updates}
        return updates, [path for one in found for path in one.gone], found

    def close(self):
        self.source.close()
        self.store.close()
