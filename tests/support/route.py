"""A courier between a source in memory and a frontend that the test controls."""

import asyncio
from contextlib import asynccontextmanager

from replicator.core.dirty import DirtySet
from replicator.core.pace import Backoff
from replicator.core.pending import Key, PendingKind
from replicator.delta.ops import Copy, Literal
from replicator.engine.changes.create import change_for, next_number, put_file
from replicator.engine.changes.encode import CHUNK, encode_batches, encode_file
from replicator.engine.changes.reader import ContentReader
from replicator.engine.frontend.connection import Connection
from replicator.engine.frontend.sender import Sender
from replicator.engine.ingest.checker import Checker
from replicator.engine.ingest.scan import scan
from replicator.model import ROOT
from replicator.wire.messages import Acks, Batch, BeginFile
from tests.support.fakes.catalog import FakeCatalog
from tests.support.fakes.channel import FakeChannel
from tests.support.fakes.source import FakeSource
from tests.support.source_state import fake_tree
from tests.support.waiting import eventually

NEVER = 3600.0
"""Seconds; longer than any test."""

BIG = bytes(range(256)) * (CHUNK // 256) + b"a second chunk"
"""Content that is sent in two frames."""


class Listener:
    """Records the courier's callbacks."""

    def __init__(self):
        self.clean = []
        self.troubles = []
        self.delays = []
        self.doubts = []
        self.frames = 0

    def done(self, key):
        self.clean.append(key.path)

    def removed(self, key):
        self.clean.append(key.path)

    def delayed(self, key, reason):
        self.delays.append((key.path, reason))

    def troubled(self, key, reason):
        self.troubles.append((key.path, reason))

    def in_doubt(self, directory):
        self.doubts.append(directory.path)

    async def throttle(self, size):
        self.frames += 1


class Route:
    """A courier, its source in memory, and the channel to the test."""

    def __init__(self, pool):
        self.source, self.catalog, self.dirty = FakeSource(), FakeCatalog(), DirtySet()
        self.tree = fake_tree(self.source, self.catalog)
        self.rechecked = self.tree.state.rechecked
        self.trees = {1: self.tree}
        self.reader = ContentReader(self.trees)
        self.pool = pool
        self.listener = Listener()
        self.retry(NEVER)
        self.channel = FakeChannel()
        self.link = Connection(self.channel, self._answered, self._moved)

    def retry(self, seconds):
        """Let the courier retry after exactly this many seconds the first time."""
        backoff = Backoff(seconds, NEVER, lambda: 1.0)
        self.sender = Sender(self.dirty, self.reader, self.pool, backoff, self.listener)

    def _answered(self, *answer):
        self.sender.answered(*answer)

    def _moved(self):
        self.sender.wake()

    @asynccontextmanager
    async def open(self):
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(self.sender.run(self.link))]
        tasks.append(loop.create_task(self.link.receive()))
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
        self.link.bytes_sent += self.link.window.size
        self.link.window.sent(self.link.bytes_sent, asyncio.get_running_loop().time())

    def make_room(self):
        self.channel.say(Acks((), (), self.link.bytes_sent))

    def accept(self, *numbers):
        self.channel.say(Acks(numbers, (), self.link.bytes_sent))

    def refuse(self, number, reason, detail=""):
        self.channel.say(Acks((), ((number, reason, detail),), self.link.bytes_sent))

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
        await eventually(lambda: self.listener.frames >= frames, "prepared frames")

    def whole(self, path):
        """Return a live parcel with a file's whole current content."""
        entry = self.catalog.records[path].entry
        content = self.source.nodes[path].content
        (encoded,) = encode_batches([(change_for(1, path, entry), content)])
        return encoded

    def delta(self, path, keep):
        """Return a live parcel with a delta that copies the first `keep` bytes of the previous version."""
        put = put_file(next_number(), 1, path, self.catalog.records[path].entry)
        tail = self.source.nodes[path].content[keep:]
        return encode_file(put, [Copy(0, keep), Literal(tail)], delta=True)
