"""A source in memory, and the reader of its dirty paths."""

from replicator.core.pending import Key, PendingChange, PendingKind
from replicator.engine.changes.encode import CHUNK
from replicator.engine.changes.reader import ContentReader
from replicator.engine.changes.tree_reads import TreeReads
from replicator.engine.ingest.checker import Checker
from replicator.engine.ingest.scan import scan
from replicator.model import ROOT
from tests.support.fakes.catalog import FakeCatalog
from tests.support.fakes.source import FakeSource
from tests.support.source_state import fake_tree


class Reading:
    """A small file `d/f` and a large one `big`, in memory, and what reads them for frontends."""

    def __init__(self, delete=True):
        self.source, self.catalog = FakeSource(), FakeCatalog()
        self.source.mkdir(b"d")
        self.source.write(b"d/f", b"small")
        self.big = bytes(range(256)) * (5 * CHUNK // 512)
        self.source.write(b"big", self.big)
        self.scan()
        tree = fake_tree(self.source, self.catalog, delete=delete)
        self.doubted = tree.state.rechecked
        self.trees = {1: tree}
        self.reads = TreeReads(self.trees)
        self.reader = ContentReader(self.reads)

    def scan(self):
        for _ in scan(Checker(self.source, self.catalog), ROOT):
            pass
        self.source.reads.clear()

    def collect(self, *paths, kind=PendingKind.CONTENT):
        return self.reader.collect([PendingChange(Key(1, path), 1, kind) for path in paths])

    def large(self):
        (large,) = self.collect(b"big").large
        return large
