"""Frontends in memory, and the shared dependencies of their replicas."""

from replicator.core.pace import Backoff, TokenBucket
from replicator.core.pending import Key
from replicator.engine.bootstrap_queue import BootstrapQueue
from replicator.engine.changes.create import change_for
from replicator.engine.changes.encode import encode_batches
from replicator.engine.changes.large_files import LargeFiles
from replicator.engine.changes.reader import ContentReader
from replicator.engine.changes.tree_reads import TreeReads
from replicator.engine.context import Context
from replicator.engine.ingest.checker import Checker
from replicator.engine.ingest.scan import scan
from replicator.model import ROOT
from replicator.ports import Address, Candidate
from tests.support.fakes.agent import FakeAgent
from tests.support.fakes.catalog import FakeCatalog
from tests.support.fakes.connector import FakeConnector
from tests.support.fakes.source import FakeSource
from tests.support.source_state import fake_tree
from tests.support.waiting import eventually


def at(path):
    return Key(1, path)


def candidate(host, **more):
    return Candidate(Address(host), **more)


class Backdrop:
    """A source and frontends in memory.

    Attributes:
        agents: the connections by host, in order.
        disks: content of each host, by host.
        prepare: called with each new FakeAgent before it is used.
    """

    def __init__(self, pool, places=2):
        self.source, self.catalog = FakeSource(), FakeCatalog()
        self.connector = FakeConnector(None)
        self.connector.make = self._connect
        self.agents = self.connector.made
        self.disks = {}
        self.prepare = lambda _agent: None
        self.tree = fake_tree(self.source, self.catalog)
        trees = {1: self.tree}
        reads = TreeReads(trees)
        self.context = Context(
            connector=self.connector,
            trees=trees,
            reads=reads,
            reader=ContentReader(reads),
            large_files=LargeFiles(reads),
            pool=pool,
            bootstrap_queue=BootstrapQueue(places),
            bucket=TokenBucket(None),
            retry=Backoff(0.01, 0.02, lambda: 1.0),
            connect_timeout=20.0,
            op_timeout=20.0,
        )

    def _connect(self, host):
        agent = FakeAgent(self.disks.setdefault(host, {}))
        self.prepare(agent)
        return agent

    def agent(self, host):
        """Return the last connection to a host."""
        return self.agents[host][-1]

    def write(self, path, content):
        """Change a file of the source; return the encoded change."""
        self.source.write(path, content)
        return self.scan(path)

    def scan(self, path):
        """Scan the source; return the encoded content of one file."""
        for _ in scan(Checker(self.source, self.catalog), ROOT):
            pass
        change = change_for(1, path, self.catalog.records[path].entry)
        (encoded,) = encode_batches([(change, self.source.nodes[path].content)])
        return encoded

    async def turned(self, replica, state):
        """Wait until a replica is in a state."""
        await eventually(lambda: replica.state is state, lambda: f"{state}: {replica.state}")
