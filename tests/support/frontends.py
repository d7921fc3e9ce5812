"""Frontends in memory, and the shared dependencies of their replicas."""

import asyncio
import errno
import hashlib
import os

from replicator.agent.refusals import Refused
from replicator.core.pace import Backoff, TokenBucket
from replicator.core.pending import Key
from replicator.engine.bootstrap_queue import BootstrapQueue
from replicator.engine.changes.create import change_for
from replicator.engine.changes.encode import encode_batches
from replicator.engine.changes.reader import ContentReader
from replicator.engine.context import Context
from replicator.engine.ingest.checker import Checker
from replicator.engine.ingest.scan import scan
from replicator.model import (
    DIRECTORY,
    FILE,
    ROOT,
    SYMLINK,
    Entry,
    Listed,
    Unlisted,
    ancestors,
    is_below,
    is_within,
    key,
    parent,
    rebase,
)
from replicator.ports import Address, Candidate
from replicator.wire import messages
from replicator.wire.changes import (
    BASE_MISMATCH,
    DIGEST_MISMATCH,
    NOT_EMPTY,
    PATH_REFUSED,
    VANISHED,
    Delete,
    Link,
    MakeDirectory,
    MakeSymlink,
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
    """A channel to a simulated agent that applies changes to a dict. Passes tests/contract/test_agent.py.

    It serves one tree, keeps no content, and sends a listing in one frame. The result of a delta is believed.

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
        self._answered = 0
        self._mode_bits = 0o7777
        self._transfers = {}  # by number: the content received so far; None if the file was refused
        self._handlers = {
            Delete: self._delete,
            Link: self._link,
            MakeDirectory: self._make_directory,
            MakeSymlink: self._make_symlink,
            Move: self._move,
            SetAttributes: self._set_attributes,
        }

    async def write(self, data):
        await super().write(data)
        while self._answered < len(self.heard):  # several writers may have waited for `open`
            message = self.heard[self._answered]
            self._answered += 1
            if type(message) not in self.mute:
                self.answer(message)

    async def close(self):
        await self.closing.wait()
        await super().close()

    @property
    def taken(self):
        """Bytes of all frames that it has received."""
        return self._decoder.taken

    def answer(self, message):
        """Answer a message as a correct agent does."""
        payload = next(p for m, p in zip(self.heard, self.payloads, strict=True) if m is message)
        if isinstance(message, messages.Hello):
            self.say(messages.Hello(messages.VERSION, messages.FEATURES, "in memory", self.boot))
        elif isinstance(message, messages.OpenTree):
            opened = messages.Opened(message.tree, -1, -1, self.problem, self.identity)
            self._mode_bits = 0o7777 if message.setid else 0o1777
            self.say(opened._replace(granularity=self.granularity))
        elif isinstance(message, messages.ListTree):
            self.list(message)
        elif isinstance(message, messages.Batch):
            self._apply(message.changes, payload)
        elif isinstance(message, messages.BeginFile):
            self._begin(message)
        elif isinstance(message, messages.Data):
            self._receive(message, payload)

    def list(self, request):
        """Answer a request for a listing."""
        found = self.disk.get(request.below)
        unlisted = list(self.unlisted)
        if found is not None and found.kind != DIRECTORY:
            unlisted.append(Unlisted(request.below, os.strerror(errno.ENOTDIR)))
        wanted = (p for p in self.disk if is_below(p, request.below))
        paths = sorted((p for p in wanted if key(p) > key(request.after)), key=key)
        entries = [self._rounded(self.disk[path]) for path in paths]
        if not request.digest:
            entries = [entry._replace(digest=b"") for entry in entries]
        lines = tuple(Listed(*line, 0, 0) for line in zip(paths, entries, strict=True))
        self.say(messages.Listing(request.job, lines, tuple(unlisted), True))

    def _rounded(self, entry):
        return entry._replace(mtime_ns=entry.mtime_ns // self.granularity * self.granularity)

    def _apply(self, changes, payload):
        done, refused = [], []
        for change in changes:
            content = b""
            if isinstance(change, PutFile):
                content, payload = payload[: change.size], payload[change.size :]
            self._answer_change(change, content, done, refused)
        self._acknowledge(done, refused)

    def _answer_change(self, change, content, done, refused):
        """Apply a change, and add the answer to one of two lists. The content of a delta is None: it is believed."""
        try:
            self._check_allowed(change.path)
            if isinstance(change, PutFile):
                self._put(change, content)
            else:
                self._handlers[type(change)](change)
        except Refused as refusal:
            refused.append((change.number, refusal.reason, refusal.detail))
        else:
            done.append(change.number)

    def _begin(self, begin):
        put = begin.put
        self._transfers[put.number] = begin, []
        try:
            self._check_allowed(put.path)
            if begin.delta:
                self._check_base(put.path)
            self._check_parent(put.path)
        except Refused as refusal:
            self._transfers[put.number] = None
            self._acknowledge([], [(put.number, refusal.reason, refusal.detail)])

    def _receive(self, data, payload):
        done, refused = [], []
        transfer = self._transfers[data.number]
        if data.end or data.cancel:
            del self._transfers[data.number]
        if transfer is not None:
            begin, pieces = transfer
            pieces.append(payload)
            if data.cancel:
                refused.append((data.number, DIGEST_MISMATCH, "the source changed meanwhile"))
            elif data.end:
                content = None if begin.delta else b"".join(pieces)
                self._answer_change(begin.put, content, done, refused)
        self._acknowledge(done, refused)

    def _acknowledge(self, done, refused):
        self.say(messages.Acks(tuple(done), tuple(refused), self.taken))

    def _kind(self, path):
        return self.disk[path].kind if path in self.disk else None

    def _check_allowed(self, path):
        if path in self.refusals:
            raise Refused(*self.refusals[path])

    def _check_base(self, path):
        """Check that a change can build on what is at a path."""
        if self._kind(path) == DIRECTORY:
            raise Refused(PATH_REFUSED, "not a regular file")
        if self._kind(path) != FILE:
            raise Refused(BASE_MISMATCH, os.strerror(errno.ENOENT))

    def _check_parent(self, path):
        for directory in ancestors(path):
            if self._kind(directory) not in (DIRECTORY, None):
                raise Refused(PATH_REFUSED, os.strerror(errno.ENOTDIR))
        if parent(path) and parent(path) not in self.disk:
            raise Refused(VANISHED, "its directory is not there")

    def _check_empty(self, path):
        if any(is_below(other, path) for other in self.disk):
            raise Refused(NOT_EMPTY, os.strerror(errno.ENOTEMPTY))

    def _put(self, put, content):
        if content is not None and hashlib.sha256(content).digest() != put.digest:
            raise Refused(DIGEST_MISMATCH)
        mode = put.mode & self._mode_bits
        self._replace(put.path, Entry(FILE, mode, put.size, put.mtime_ns, b"", put.digest))

    def _replace(self, path, entry):
        self._check_parent(path)
        self._check_empty(path)
        self.disk[path] = entry

    def _make_directory(self, change):
        self._check_parent(change.path)
        mode = change.mode & self._mode_bits
        self.disk[change.path] = Entry(DIRECTORY, mode, 0, change.mtime_ns)

    def _make_symlink(self, change):
        self._replace(change.path, Entry(SYMLINK, 0, 0, change.mtime_ns, change.link))

    def _link(self, change):
        if change.copy:
            self._check_base(change.source)
        entry = self.disk.get(change.source)
        announced = FILE, change.mode & self._mode_bits, change.size, change.mtime_ns
        if entry is None or entry[:4] != announced:
            raise Refused(BASE_MISMATCH, "the source is not the file that was announced")
        self._replace(change.path, entry)

    def _delete(self, change):
        self._check_empty(change.path)
        self.disk.pop(change.path, None)

    def _move(self, change):
        for end in (change.path, change.target):
            self._check_parent(end)
        kind, there = self._kind(change.path), self._kind(change.target)
        if kind is None:
            raise Refused(VANISHED, os.strerror(errno.ENOENT))
        if there is not None and (kind == DIRECTORY) != (there == DIRECTORY):
            raise Refused(PATH_REFUSED, "a file and a directory cannot replace each other")
        self._check_empty(change.target)
        for path in [p for p in self.disk if is_within(p, change.path)]:
            self.disk[rebase(path, change.path, change.target)] = self.disk.pop(path)

    def _set_attributes(self, change):
        self._check_base(change.path)
        entry = self.disk[change.path]
        if entry.size != change.size:
            raise Refused(BASE_MISMATCH, "the file has another size")
        if change.digest and entry.digest != change.digest:
            raise Refused(BASE_MISMATCH, "the file has other content")
        if not change.digest and entry.mtime_ns != change.old_mtime_ns:
            raise Refused(BASE_MISMATCH, "the file has another time")
        mode = change.mode & self._mode_bits
        self.disk[change.path] = entry._replace(mode=mode, mtime_ns=change.mtime_ns)

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
