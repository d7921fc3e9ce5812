"""In-memory implementations of the ports, and an agent in a thread of this process."""

import asyncio
import errno
import hashlib
import os
import socket
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from replicator.agent.server import Server
from replicator.delta.ops import Copy, Literal
from replicator.errors import ChannelLost, ConnectFailed, PathRefused, ProtocolError, SourceError
from replicator.model import (
    DIRECTORY,
    FILE,
    SYMLINK,
    Entry,
    Hint,
    Hinted,
    Stamp,
    Unlisted,
    ancestors,
    check_path,
    is_below,
    is_temporary,
    is_within,
    key,
    parent,
    rebase,
)
from replicator.ports import Identity, Record, Seen, Snapshot, Verdict
from replicator.wire import frames, messages


def digest(content):
    return hashlib.sha256(content).digest()


@dataclass(frozen=True)
class Node:
    """A file, directory or symlink of a FakeSource."""

    kind: str
    mode: int = 0o644
    content: bytes = b""
    link: bytes = b""
    time: int = 0
    changed: int = 0
    inode: int = 0

    @property
    def entry(self):
        return Entry(self.kind, self.mode, len(self.content), self.time, self.link)

    @property
    def stamp(self):
        return Stamp(len(self.content), self.time, self.changed, self.inode)


class FakeSource:
    """A source tree in a dict. Passes tests/contract/test_source.py.

    The signature of a file is its content, and every change advances a clock. Parents are created as needed.

    Attributes:
        nodes: what the source holds, by path.
        stable: whether a snapshot's stamp is stable.
        identity: identity of the directory that the root's path names.
        away: reason why the root is missing; empty if it exists.
        mounted: the mounts below the root.
        reasons: reasons why parts of the source are untrusted, by path.
        hashed: paths of all snapshots that were taken.
        reads: pairs (path, offset) of all reads.
        unlisted: directories that cannot be listed, with the reason.
        unreadable: files that cannot be read, with the reason.
        denied: paths whose lstat fails, with the errno.
        verdicts: result of a snapshot by path, instead of READ; ignored if the snapshot is forced.
        is_excluded: called with (path, kind); True if the operator's patterns exclude the path.
        after_read: called with the path after each read.
    """

    def __init__(self):
        self.nodes = {}
        self.clock = 1_600_000_000_000_000_000
        self.stable = True
        self.identity = Identity(1, 2)
        self.away = ""
        self.exposed = ""
        self.mounted = {}
        self.reasons = {}
        self.hashed = []
        self.bytes_read = self.files_hashed = 0
        self.reads = []
        self.unlisted = {}
        self.unreadable = {}
        self.denied = {}
        self.verdicts = {}
        self.is_excluded = lambda _path, _kind: False
        self.after_read = lambda _path: None
        self._opened = self.identity  # None while the root is closed
        self._stopped = False

    def tick(self):
        self.clock += 1
        return self.clock

    def write(self, path, content, mode=0o644):
        """Replace a file by a new one, or create it."""
        self._add(path, FILE, mode, content=content)

    def rewrite(self, path, content):
        """Change the content in place, for all hard links of the file."""
        now = self.tick()
        inode = self.nodes[path].inode
        for name, node in list(self.nodes.items()):
            if node.inode == inode:
                self.nodes[name] = replace(node, content=content, time=now, changed=now)

    def hard_link(self, path, name):
        now = self.tick()
        self.nodes[path] = self.nodes[name] = replace(self.nodes[path], changed=now)

    def touch(self, path):
        """Change only the ctime, as chmod to the same mode or a new hard link does."""
        self.nodes[path] = replace(self.nodes[path], changed=self.tick())

    def chmod(self, path, mode):
        self.nodes[path] = replace(self.nodes[path], mode=mode, changed=self.tick())

    def mkdir(self, path, mode=0o755):
        self._add(path, DIRECTORY, mode)

    def symlink(self, path, link):
        self._add(path, SYMLINK, 0, link=link)

    def remove(self, path):
        for name in [n for n in self.nodes if n == path or is_below(n, path)]:
            del self.nodes[name]

    def _add(self, path, kind, mode, **what):
        for directory in reversed([at for at in ancestors(path) if at not in self.nodes]):
            self._add(directory, DIRECTORY, 0o755)
        now = self.tick()
        self.nodes[path] = Node(kind, mode, **what, time=now, changed=now, inode=now)

    def check_root(self):
        if self.away:
            reason = self.away
        elif self._opened is None:
            reason = self.reasons.get(b"") or "the source was closed"
        elif self._opened != self.identity:
            reason = "the source was replaced by another directory"
        else:
            return self.identity
        self._doubt_root(reason)
        raise SourceError(reason)

    def reopen(self):
        if self.away:
            self.set_doubt(self.away)
            raise SourceError(self.away)
        self._check_stopped()
        if self._opened != self.identity:
            self._doubt_root("the source is being compared with the catalog")
        self._opened = self.identity

    def stop(self):
        self._stopped = True

    def close(self):
        self._stopped = True
        self._opened = None

    def set_doubt(self, reason):
        self._doubt_root(reason)
        if reason:
            self._opened = None

    def _doubt_root(self, reason):
        self.reasons.pop(b"", None)
        if reason:
            self.reasons[b""] = reason

    def doubt(self, path):
        untrusted = (at for at in (b"", path, *ancestors(path)) if at in self.reasons)
        return next((self.reasons[at] for at in untrusted), "")

    def duplicate_root(self):
        self._check_open()
        return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)

    def mounts(self):
        self._check_open()
        return dict(self.mounted)

    def forget_mounts(self):
        pass

    def set_mounts(self, believed, reasons):
        root = {path: reason for path, reason in self.reasons.items() if not path}
        self.reasons = {**reasons, **root}

    def excluded(self, path, kind):
        return self.is_excluded(path, kind)

    def stat(self, path):
        if not _has_name(path):
            return None
        if reason := self.doubt(path):
            raise OSError(errno.ENODEV, reason)
        self._check_open()
        if path in self.denied:
            raise OSError(self.denied[path], os.strerror(self.denied[path]))
        return self._seen(path)

    def snapshot(self, path, base, *, force=False, unclosed=False):
        self.hashed.append(path)
        if reason := self.doubt(path):
            return Snapshot(verdict=Verdict.FAILED, problem=reason)
        self._check_stopped()
        node = self.nodes.get(path)
        if node is None or node.kind != FILE:
            return Snapshot(verdict=Verdict.GONE)
        if path in self.unreadable:
            return Snapshot(verdict=Verdict.FAILED, problem=self.unreadable[path])
        if path in self.verdicts and not force:
            return Snapshot(verdict=self.verdicts[path])
        self.bytes_read += len(node.content)
        self.files_hashed += 1
        ops, content = [Literal(node.content)], node.content
        is_delta = bool(base) and content.startswith(base)
        if is_delta:
            ops = [Copy(0, len(base)), Literal(content[len(base) :])]
        return Snapshot(
            verdict=Verdict.READ,
            entry=node.entry._replace(digest=digest(content)),
            stamp=node.stamp,
            stable=self.stable,
            signature=content if len(content) > 8 else None,
            ops=ops,
            is_delta=is_delta,
        )

    def read(self, path, stamp, offset, length):
        self.reads.append((path, offset))
        content = None
        if not self._stopped and not self.doubt(path) and path not in self.unreadable:
            node = self.nodes.get(path)
            if node is not None and node.kind == FILE:
                content = node.content[offset : offset + length]
                self.bytes_read += len(content)
                if node.stamp != stamp or len(content) != length:
                    content = None
        self.after_read(path)
        return content

    def read_whole(self, wanted):
        return [self.read(path, stamp, 0, stamp.size) for path, stamp in wanted]

    def walk(self, below, *, judging=False):
        if below and not _has_name(below):
            return
        if not judging and (reason := self.doubt(below)):
            yield Unlisted(below, reason)
            return
        self._check_open()
        yield from self._list(below)

    def _list(self, directory):
        node = self.nodes.get(directory)
        if directory and node is None:
            return
        if directory and node.kind != DIRECTORY:
            yield Unlisted(directory, os.strerror(errno.ENOTDIR))
            return
        if directory in self.unlisted:
            yield Unlisted(directory, self.unlisted[directory])
            return
        for path in sorted((p for p in self.nodes if parent(p) == directory), key=key):
            self._check_open()
            if path in self.reasons:
                yield Unlisted(path, self.reasons[path])
            elif path in self.denied:
                yield Unlisted(path, os.strerror(self.denied[path]))
            elif _has_name(path) and (seen := self._seen(path)) is not None:
                yield seen
                if seen.entry.kind == DIRECTORY:
                    yield from self._list(path)

    def _seen(self, path):
        node = self.nodes.get(path)
        if node is None or self.is_excluded(path, node.kind):
            return None
        links = sum(other.inode == node.inode for other in self.nodes.values())
        return Seen(path, node.entry, node.stamp, links)

    def _check_stopped(self):
        if self._stopped:
            raise SourceError("the source was closed")

    def _check_open(self):
        self._check_stopped()
        if self._opened is None:
            raise SourceError(self.reasons.get(b"") or "the source was closed")


def _has_name(path):
    """Return True for the paths that the real source can replicate; see `source.tree`."""
    try:
        check_path(path)
    except PathRefused:
        return False
    return not any(map(is_temporary, path.split(b"/")))


class FakeCatalog:
    """A catalog in dicts. Passes tests/contract/test_catalog.py.

    Attributes:
        renaming: see ports.Catalog.
        records: the records by path.
        signatures: the packed signatures by path.
        applied: number of calls of `apply`.
        failure: if set, every method raises a SourceError with this text.
    """

    def __init__(self):
        self.renaming = threading.Lock()
        self.records = {}
        self.signatures = {}
        self.applied = 0
        self.failure = ""
        self._lock = threading.Lock()
        self._past = {}  # (path, size, mtime) to digest; an empty digest stands for several
        self._identity = None
        self._mounts = {}
        self._reason = ""
        self._withheld = set()
        self._before = None

    @contextmanager
    def _using(self):
        with self._lock:
            if self.failure:
                raise SourceError(self.failure)
            yield

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
                self._remember(path)
                self.records.pop(path, None)
                self.signatures.pop(path, None)
            for path, record in new.items():
                self._remember_replaced(record)
                self.records[path] = self._marked(record)
                if record.entry.kind != FILE:
                    self.signatures.pop(path, None)
            for path, signature in signatures.items():
                self.signatures[path] = signature
                if signature is None:
                    del self.signatures[path]

    def move(self, source, target):
        if source == target:
            return
        with self._using():
            for path in [p for p in self.records if is_within(p, source) or is_within(p, target)]:
                self._remember(path)
            records, signatures = (
                {p: kept.pop(p) for p in list(kept) if is_within(p, source)}
                for kept in (self.records, self.signatures)
            )
            for kept in (self.records, self.signatures):
                for path in [p for p in kept if is_within(p, target)]:
                    del kept[path]
            for path, record in records.items():
                to = rebase(path, source, target)
                self.records[to] = self._marked(record._replace(path=to))
            for path, signature in signatures.items():
                self.signatures[rebase(path, source, target)] = signature

    def signature(self, path):
        with self._using():
            return self.signatures.get(path)

    def counts(self):
        with self._using():
            return len(self.records), sum(r.entry.size for r in self.records.values())

    def root_identity(self):
        with self._using():
            return self._identity

    def set_root_identity(self, identity):
        with self._using():
            self._identity = identity

    def paused(self):
        with self._using():
            return self._reason

    def pause(self, reason, before, paths):
        with self._using():
            if not self._reason:
                self._withheld.clear()
            self._reason = reason
            self._before = before
            self._withheld.update(paths)

    def unpause(self):
        with self._using():
            self._reason = ""
            self._before = None
            self._withheld.clear()

    def withheld(self):
        with self._using():
            if self._before is None:
                return None
            return len(self._withheld - self.records.keys()), self._before

    def mounts(self):
        with self._using():
            return dict(self._mounts)

    def set_mounts(self, mounts):
        with self._using():
            self._mounts = dict(mounts)

    def put(self, path, entry, stamp=None, problem=""):
        """Store a record directly."""
        stamp = stamp or Stamp(entry.size, entry.mtime_ns, entry.mtime_ns, 1)
        self.records[path] = Record(path, entry, stamp, problem=problem)

    def _below(self, directory):
        return sorted((p for p in self.records if is_below(p, directory)), key=key)

    def _sharing(self, inode):
        return sorted((p for p, r in self.records.items() if r.stamp.inode == inode), key=key)

    def _remember(self, path):
        """Note the version of a path that is about to be replaced, moved or removed."""
        record = self.records.get(path)
        if record is not None and record.entry.kind == FILE and record.entry.digest:
            version = (path, record.entry.size, record.entry.mtime_ns)
            if self._past.setdefault(version, record.entry.digest) != record.entry.digest:
                self._past[version] = b""

    def _remember_replaced(self, record):
        """Note the version that a record replaces, if its mtime was set explicitly; see catalog.history."""
        known = self.records.get(record.path)
        if (
            known is None
            or known.entry[:1] + known.entry[2:4] == record.entry[:1] + record.entry[2:4]
        ):
            return
        changed = known.stamp.ctime_ns
        if changed == -1 or abs(changed - known.entry.mtime_ns) > 10**9:
            self._remember(record.path)

    def _marked(self, record):
        """Return the record, marked as ambiguous if another content had the same size and mtime."""
        version = (record.path, record.entry.size, record.entry.mtime_ns)
        was = self._past.get(version, record.entry.digest)
        clashes = record.entry.kind == FILE and record.entry.digest not in (b"", was)
        return record._replace(ambiguous=record.ambiguous or clashes)


class FakeWatcher:
    """A watcher that reports the hints given to `tell`. Passes tests/contract/test_watcher.py.

    Attributes:
        overflows: see ports.Watcher.
        hinted: queue of hints; an exception in it is raised by `hints`.
        failure: if set, `start` raises a SourceError with this text.
        sentences: result of `problems`.
        closed: True once `close` was called.
    """

    def __init__(self):
        self.overflows = 0
        self.hinted = asyncio.Queue()
        self.failure = ""
        self.sentences = []
        self.closed = False
        self._started = False

    async def start(self):
        if self.failure:
            raise SourceError(self.failure)
        self._started = True

    async def hints(self):
        hint = await self.hinted.get()
        if isinstance(hint, Exception):
            raise hint
        return [hint]

    def is_drained(self, since):
        return self._started and not self.closed and self.hinted.empty()

    def tell(self, path, kind=Hinted.CHANGED, target=b""):
        self.hinted.put_nowait(Hint(kind, path, target))

    def overflow(self):
        """Report that events were dropped, and that everything must be scanned."""
        self.overflows += 1
        self.tell(b"", Hinted.SUBTREE)

    def problems(self):
        return self.sentences

    def watches(self):
        return int(self._started and not self.closed), None

    def rescan_every(self, seconds):
        pass

    def close(self):
        self.closed = True


class FakeChannel:
    """A channel whose other end is the test. Passes tests/contract/test_connector.py.

    Attributes:
        heard: the messages that were written.
        payloads: their payloads.
        closed: True once `close` was called.
        open: write() blocks while this event is not set.
    """

    def __init__(self):
        self.heard = []
        self.payloads = []
        self.closed = False
        self.open = asyncio.Event()
        self.open.set()
        self._incoming = asyncio.Queue()
        self._decoder = frames.Decoder()

    async def read(self):
        data = await self._incoming.get()
        if not data:
            self._incoming.put_nowait(b"")  # every later read is at the end as well
        return data

    async def write(self, data):
        if self.closed:
            raise ChannelLost("the channel is closed")
        self._decoder.receive(data)
        for frame in self._decoder.frames():
            self.heard.append(messages.decode(frame.header))
            self.payloads.append(frame.payload)
        await self.open.wait()

    def say(self, *said):
        for message in said:
            self._incoming.put_nowait(frames.encode(message.header()))

    def say_raw(self, data):
        self._incoming.put_nowait(data)

    def hang_up(self):
        self._incoming.put_nowait(b"")

    def of(self, kind):
        return [message for message in self.heard if isinstance(message, kind)]

    def diagnosis(self):
        return "last words"

    async def close(self):
        self.closed = True
        self._incoming.put_nowait(b"")


class AgentChannel:
    """A channel to the real agent, which runs in a thread at the other end of a socket pair."""

    def __init__(self, jail, session=b"in-process"):
        self._ours, self._theirs = socket.socketpair()
        self.failure = None
        self.written = 0
        self._server = Server(
            self._theirs.fileno(), self._theirs.fileno(), session=session, jail=os.fsencode(jail)
        )
        self._thread = threading.Thread(target=self._serve)
        self._reader = self._writer = None

    def _serve(self):
        try:
            self._server.run()
        except (ProtocolError, OSError) as error:  # OSError: closed before it could say hello
            self.failure = error
        finally:
            for store in self._server._stores.values():
                store.tree.close()
            self._theirs.close()

    async def start(self):
        self._reader, self._writer = await asyncio.open_connection(sock=self._ours)
        self._thread.start()
        return self

    async def read(self):
        try:
            return await self._reader.read(1 << 18)
        except ConnectionError:
            return b""

    async def write(self, data):
        self.written += len(data)
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError as error:
            raise ChannelLost("the agent has ended") from error

    def kill(self):
        """Close both directions at once, as when the agent is killed."""
        with suppress(OSError):
            self._theirs.shutdown(socket.SHUT_RDWR)

    def diagnosis(self):
        return str(self.failure or "")

    async def close(self):
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()
        await asyncio.to_thread(self._thread.join)


class FakeConnector:
    """A connector to agents in threads; each host has its own directory as file system root.

    Attributes:
        refused: hosts that refuse connections.
        made: the channels by host, in order.
        make: if set, called with the host to create a channel instead of an agent.
    """

    def __init__(self, directory):
        self.directory = directory
        self.refused = set()
        self.made = {}
        self.make = None

    def root(self, host):
        return self.directory / host

    async def connect(self, address, identity=""):
        host = address.host
        if host in self.refused:
            raise ConnectFailed(f"{host}: refused by the test")
        if self.make is not None:
            channel = self.make(host)
        else:
            self.root(host).mkdir(exist_ok=True)
            channel = await AgentChannel(self.root(host)).start()
        self.made.setdefault(host, []).append(channel)
        return channel
