"""A sender between a source in memory and a frontend that the test controls."""

import asyncio
from contextlib import asynccontextmanager

from replicator.core.pace import Backoff, TokenBucket
from replicator.core.pending import Key, PendingKind
from replicator.delta.ops import Copy, Literal
from replicator.engine.bootstrap_queue import BootstrapQueue
from replicator.engine.changes.create import change_for, next_number, put_change
from replicator.engine.changes.encode import CHUNK, encode_batches, encode_file
from replicator.engine.changes.large_files import LargeFiles
from replicator.engine.changes.reader import ContentReader
from replicator.engine.changes.tree_reads import TreeReads
from replicator.engine.context import Context
from replicator.engine.frontend.connection import Connection
from replicator.engine.frontend.error_status import ErrorStatus
from replicator.engine.frontend.sender import Sender
from replicator.engine.frontend.state import FrontendState
from replicator.engine.ingest.checker import Checker
from replicator.engine.ingest.scan import scan
from replicator.model import ROOT
from replicator.wire.messages import Acks, Batch, BeginFile
from tests.support.fakes.catalog import FakeCatalog
from tests.support.fakes.channel import FakeChannel
from tests.support.fakes.source import FakeSource
from tests.support.frontends import candidate
from tests.support.source_state import fake_tree
from tests.support.waiting import eventually

NEVER = 3600.0
"""Seconds; longer than any test."""

BIG = bytes(range(256)) * (CHUNK // 256) + b"a second chunk"
"""Content that is sent in two frames."""


class Errors(ErrorStatus):
    """Records what the sender reports of each path."""

    def __init__(self):
        super().__init__("a")
        self.confirmed = []
        self.refusals = []
        self.delays = []

    def sent(self, key, event):
        super().sent(key, event)
        self.confirmed.append(key.path)

    def refused(self, key, reason):
        super().refused(key, reason)
        self.refusals.append((key.path, reason))

    def delayed(self, key, reason):
        super().delayed(key, reason)
        self.delays.append((key.path, reason))


class Bucket(TokenBucket):
    """Counts the frames that are prepared."""

    def __init__(self):
        super().__init__(None)
        self.frames = 0

    def delay(self, size, now):
        self.frames += 1
        return super().delay(size, now)


class Sending:
    """A sender with its source in memory, and the channel to the test."""

    def __init__(self, pool):
        self.source, self.catalog = FakeSource(), FakeCatalog()
        self.tree = fake_tree(self.source, self.catalog)
        self.rechecked = self.tree.state.rechecked
        self.trees = {1: self.tree}
        reads = TreeReads(self.trees)
        self.bucket = Bucket()
        self.context = Context(
            connector=None,
            trees=self.trees,
            reads=reads,
            reader=ContentReader(reads),
            large_files=LargeFiles(reads),
            pool=pool,
            bootstrap_queue=BootstrapQueue(1),
            bucket=self.bucket,
            retry=Backoff(NEVER, NEVER, lambda: 1.0),
            connect_timeout=NEVER,
            op_timeout=NEVER,
        )
        self.state = FrontendState(candidate("a"), self.context)
        self.state.errors = self.errors = Errors()
        self.dirty = self.state.dirty
        self.channel = FakeChannel()
        self.retry(NEVER)
        self.connection = Connection(self.channel, self._answered, self._room)

    def retry(self, seconds):
        """Retry refused paths after exactly this many seconds the first time."""
        self.use(retry=Backoff(seconds, NEVER, lambda: 1.0))

    def use(self, **what):
        """Give a new sender another object of the context."""
        for name, value in what.items():
            setattr(self.context, name, value)
        self.sender = Sender(self.state, self.context)

    def _answered(self, *answer):
        self.sender.answered(*answer)

    @property
    def queued(self):
        """What waits to be sent: live changes, then prepared bulk."""
        queue = self.sender._queue
        return [*queue._live, *queue._prepared]

    @property
    def frames_waiting(self):
        """Number of bulk frames that wait to be sent."""
        return len(self.sender._queue._prepared)

    def _room(self):
        self.sender.wake()

    def offer(self, encoded, *, compared=False):
        """Offer live changes to the sender; return True if their paths are in flight then, and not merely dirty.

        With `compared`, the tree was compared on this connection.
        """
        self.state.pending_paths.compared = {1} if compared else set()
        self.sender.offer(encoded)
        return all(self.dirty.is_clean_or_sent(part.key) for part in encoded.parts)

    async def requested(self):
        """Remove and return the directories of which a comparison was requested."""
        found = []
        while self.state.resync_queue:
            found.append((await self.state.resync_queue.next_directory()).path)
        return found

    @asynccontextmanager
    async def open(self):
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(self.sender.run(self.connection))]
        tasks.append(loop.create_task(self.connection.receive()))
        try:
            yield tasks[0]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def write(self, path, content):
        self.source.write(path, content)
        self.scan()

    def scan(self):
        for _ in scan(Checker(self.source, self.catalog), ROOT):
            pass
        self.source.reads.clear()

    def mark(self, *paths, urgent=False, kind=PendingKind.CONTENT):
        for path in paths:
            self.dirty.mark(Key(1, path), kind, asyncio.get_running_loop().time(), urgent=urgent)
        self.sender.wake()

    def fill_window(self):
        """Use up the window for bulk content; `make_room` frees it again."""
        self.connection.bytes_sent += self.connection.window.size
        self.connection.window.sent(self.connection.bytes_sent, asyncio.get_running_loop().time())

    def make_room(self):
        self.channel.send(Acks((), (), self.connection.bytes_sent))

    def accept(self, *numbers):
        self.channel.send(Acks(numbers, (), self.connection.bytes_sent))

    def refuse(self, number, reason, detail=""):
        self.channel.send(Acks((), ((number, reason, detail),), self.connection.bytes_sent))

    def sent(self, path=None):
        """Return all changes that the frontend received, in order."""
        found = []
        for message in self.channel.heard:
            found += message.changes if isinstance(message, Batch) else []
            found += [message.put] if isinstance(message, BeginFile) else []
        return [change for change in found if path is None or change.path == path]

    def contents(self):
        return [bytes(payload) for payload in self.channel.payloads if payload]

    async def times_sent(self, path, times):
        """Wait until a path was sent `times` times; return the last change."""
        await eventually(
            lambda: len(self.sent(path)) >= times,
            lambda: f"{path} to be sent {times} times: {self.channel.heard}",
        )
        assert len(self.sent(path)) == times
        return self.sent(path)[-1]

    async def prepared(self, frames):
        """Wait until `frames` frames were prepared in total."""
        await eventually(lambda: self.bucket.frames >= frames, "prepared frames")

    def whole(self, path):
        """Return a live change with a file's whole current content."""
        entry = self.catalog.records[path].entry
        content = self.source.nodes[path].content
        (encoded,) = encode_batches([(change_for(1, path, entry), content)])
        return encoded

    def delta(self, path, keep):
        """Return a live change with a delta that copies the first `keep` bytes of the previous version."""
        put = put_change(next_number(), 1, path, self.catalog.records[path].entry)
        tail = self.source.nodes[path].content[keep:]
        return encode_file(put, [Copy(0, keep), Literal(tail)], delta=True)
