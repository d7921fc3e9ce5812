"""A simulated agent."""

import asyncio
import errno
import os

from replicator.agent.refusals import Refused
from replicator.model import DIRECTORY, Listed, Unlisted, is_below, is_within, key
from replicator.wire import messages
from replicator.wire.changes import DIGEST_MISMATCH, Move, PutFile
from tests.support.fakes.channel import FakeChannel
from tests.support.fakes.digests import FakeWalk
from tests.support.fakes.disk import FakeDisk


class FakeAgent(FakeChannel, FakeDisk):
    """A channel to a simulated agent that applies changes to a dict. Passes tests/contract/test_agent.py.

    It serves one tree, keeps no content, and sends a listing in one frame. It makes digests of directories only if they are added to its
    features: most tests are about listings, which are the same for what differs. The digest of a delta's result is not verified.

    Attributes:
        disk: content of the frontend, as entries by path.
        features: its features.
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
        FakeChannel.__init__(self)
        FakeDisk.__init__(self, disk)
        self.features = tuple(name for name in messages.FEATURES if name != "digests")
        self.mute = set()
        self.unlisted = []
        self.problem = ""
        self.boot = self.identity = ""
        self.granularity = 1
        self.closing = asyncio.Event()
        self.closing.set()
        self._answered = 0
        self._walk = None
        self._transfers = {}  # by number: the content received so far; None if the file was refused

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
            self.send(messages.Hello(messages.VERSION, self.features, "in memory", self.boot))
        elif isinstance(message, messages.OpenTree):
            opened = messages.Opened(message.tree, -1, -1, self.problem, self.identity)
            self.mode_bits = 0o7777 if message.setid else 0o1777
            self.send(opened._replace(granularity=self.granularity))
        elif isinstance(message, messages.ListTree):
            self.list(message)
        elif isinstance(message, messages.DigestTree):
            disk = {path: self._rounded(entry) for path, entry in self.disk.items()}
            unlisted = [one.path for one in self.unlisted]
            self._walk = FakeWalk(message, disk, unlisted)
            self.send(self._walk.first)
        elif isinstance(message, messages.Descend):
            self.send(self._walk.descend(message))
        elif isinstance(message, messages.SumBlocks):
            self.send(messages.BlockSums(message.job))
        elif isinstance(message, messages.Batch):
            self._apply(message.changes, payload)
        elif isinstance(message, messages.BeginFile):
            self._begin(message)
        elif isinstance(message, messages.Data):
            self._receive(message, payload)

    def list(self, request):
        """Answer a request for a listing."""
        found = self.disk.get(request.below)
        unlisted = [one for one in self.unlisted if is_within(one.path, request.below)]
        if found is not None and found.kind != DIRECTORY:
            unlisted.append(Unlisted(request.below, os.strerror(errno.ENOTDIR)))
        wanted = (p for p in self.disk if is_below(p, request.below))
        paths = sorted((p for p in wanted if key(p) > key(request.after)), key=key)
        entries = [self._rounded(self.disk[path]) for path in paths]
        if not request.digest:
            entries = [entry._replace(digest=b"") for entry in entries]
        if self._walk and self._walk.request.job == request.walk:
            left_out = [self._walk.left_out(path) for path in paths]
            found = list(zip(paths, entries, left_out, strict=True))
            found = [
                (path, entry._replace(digest=out[1]) if out else entry)
                for path, entry, out in found
                if not out or out[0] == path
            ]
            paths, entries = [path for path, _ in found], [entry for _, entry in found]
        lines = tuple(Listed(*line, 0, 0) for line in zip(paths, entries, strict=True))
        self.send(messages.Listing(request.job, lines, tuple(unlisted), True))

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
        """Apply a change, and add the answer to one of two lists. The content of a delta is None: its digest is not verified."""
        try:
            self.apply(change, content)
        except Refused as refusal:
            refused.append((change.number, refusal.reason, refusal.detail))
        else:
            done.append(change.number)

    def _begin(self, begin):
        put = begin.put
        self._transfers[put.number] = begin, []
        try:
            self.check_allowed(put.path)
            if begin.delta:
                self.check_base(put.path)
            self.check_parent(put.path)
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
        self.send(messages.Acks(tuple(done), tuple(refused), self.taken))

    def changes(self, path):
        """Return all changes of a path that it received."""
        found = []
        for message in self.heard:
            found += message.changes if isinstance(message, messages.Batch) else []
            found += [message.put] if isinstance(message, messages.BeginFile) else []
        return [change for change in found if change.path == path]

    def moves(self, path):
        """Return all renames of a path that it received; `changes` also holds how the path came to be."""
        return [change for change in self.changes(path) if isinstance(change, Move)]
