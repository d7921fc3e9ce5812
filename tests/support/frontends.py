"""Frontends in memory, and the shared dependencies of their replicas."""

import asyncio

from replicator.core.pace import Backoff, TokenBucket
from replicator.core.pending import Key
from replicator.engine.bootstrap_queue import BootstrapQueue
from replicator.engine.changes.create import change_for
from replicator.engine.changes.encode import encode_batches
from replicator.engine.changes.reader import ContentReader
from replicator.engine.context import Context
from replicator.engine.ingest.checker import Checker
from replicator.engine.ingest.scan import scan
from replicator.model import DIRECTORY, FILE, ROOT, Entry, Listed, is_below, key, rebase
from replicator.ports import Address, Candidate
from replicator.wire import messages
from replicator.wire.changes import (
    BASE_MISMATCH,
    Delete,
    MakeDirectory,
    Move,
    PutFile,
    SetAttributes,
)
from tests.support.fakes import FakeCatalog, FakeChannel, FakeConnector, FakeSource
from tests.support.source_state import fake_tree
from tests.support.waiting import eventually


def at(path):
    return Key(1, path)


def candidate(host, **more):
    return Candidate(Address(host), **more)


class FakeAgent(FakeChannel):
    """A channel to a simulated agent that applies changes to a dict. It supports files and directories.

    Attributes:
        disk: content of the frontend, as entries by path.
        mute: message types that it does not answer.
        refusals: (reason, detail) by path; changes of these paths are refused.
        unlisted: directories that it reports as unreadable.
        problem: error for opening the target; empty if it can be opened.
        boot: boot id that it reports.
        identity: identity of the target that it reports.
        granularity: nanoseconds to which its file system rounds modification times down.
        closing: close() blocks while this event is not set.
    """

    def __init__(self, disk):
        super().__init__()
        self.disk = disk
        self.mute = set()
        self.refusals = {}
        self.unlisted = []
        self.problem = ""
        self.boot = self.identity = ""
        self.granularity = 1
        self.closing = asyncio.Event()
        self.closing.set()
        self._taken = 0
        self._answered = 0

    async def write(self, data):
        await super().write(data)
        self._taken += len(data)
        while self._answered < len(self.heard):  # several writers may have waited for `open`
            message = self.heard[self._answered]
            self._answered += 1
            if type(message) not in self.mute:
                self._answer(message)

    async def close(self):
        await self.closing.wait()
        await super().close()

    def _answer(self, message):
        if isinstance(message, messages.Hello):
            self.say(messages.Hello(messages.VERSION, messages.FEATURES, "in memory", self.boot))
        elif isinstance(message, messages.OpenTree):
            opened = messages.Opened(message.tree, -1, -1, self.problem, self.identity)
            self.say(opened._replace(granularity=self.granularity))
        elif isinstance(message, messages.ListTree):
            self.list(message)
        elif isinstance(message, messages.Batch):
            self._apply(message.changes)
        elif isinstance(message, messages.Data) and message.end:
            begun = {begin.put.number: begin.put for begin in self.of(messages.BeginFile)}
            self._apply([begun[message.number]])

    def list(self, request):
        """Answer a request for a listing."""
        paths = sorted((p for p in self.disk if is_below(p, request.below)), key=key)
        entries = [self._rounded(self.disk[path]) for path in paths]
        if not request.digest:
            entries = [entry._replace(digest=b"") for entry in entries]
        lines = tuple(Listed(*line, 0, 0) for line in zip(paths, entries, strict=True))
        self.say(messages.Listing(request.job, lines, tuple(self.unlisted), True))

    def _rounded(self, entry):
        return entry._replace(mtime_ns=entry.mtime_ns // self.granularity * self.granularity)

    def _apply(self, changes):
        done, refused = [], []
        for change in changes:
            if change.path in self.refusals:
                refused.append((change.number, *self.refusals[change.path]))
                continue
            if isinstance(change, SetAttributes) and not self._fits(change):
                refused.append((change.number, BASE_MISMATCH, "another size or time"))
                continue
            done.append(change.number)
            if isinstance(change, Delete):
                self.disk.pop(change.path, None)
            elif isinstance(change, Move):
                for path in [p for p in self.disk if p == change.path or is_below(p, change.path)]:
                    self.disk[rebase(path, change.path, change.target)] = self.disk.pop(path)
            elif isinstance(change, PutFile):
                entry = Entry(FILE, change.mode, change.size, change.mtime_ns, b"", change.digest)
                self.disk[change.path] = entry
            elif isinstance(change, MakeDirectory):
                self.disk[change.path] = Entry(DIRECTORY, change.mode, 0, change.mtime_ns)
        self.say(messages.Acks(tuple(done), tuple(refused), self._taken))

    def _fits(self, change):
        entry = self.disk.get(change.path)
        if entry is None or entry.size != change.size:
            return False
        if change.digest:
            return entry.digest == change.digest
        return entry.mtime_ns == change.old_mtime_ns

    def changes(self, path):
        """Return all changes of a path that it received."""
        found = []
        for message in self.heard:
            found += message.changes if isinstance(message, messages.Batch) else []
            found += [message.put] if isinstance(message, messages.BeginFile) else []
        return [change for change in found if change.path == path]


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
        self.context = Context(
            connector=self.connector,
            trees=trees,
            reader=ContentReader(trees),
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
        """Change a file of the source; return the parcel with that change."""
        self.source.write(path, content)
        return self.scan(path)

    def scan(self, path):
        """Scan the source; return a parcel with the whole content of one file."""
        for _ in scan(Checker(self.source, self.catalog), ROOT):
            pass
        change = change_for(1, path, self.catalog.records[path].entry)
        (encoded,) = encode_batches([(change, self.source.nodes[path].content)])
        return encoded

    async def turned(self, replica, state):
        """Wait until a replica is in a state."""
        await eventually(lambda: replica.state is state, lambda: f"{state}: {replica.state}")
