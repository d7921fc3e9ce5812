"""A source tree in memory."""

import errno
import os

from replicator.delta.ops import Copy, Literal
from replicator.errors import PathRefused
from replicator.model import DIRECTORY, FILE, Unlisted, check_path, is_temporary, key, parent
from replicator.ports import Seen, Snapshot, Verdict
from tests.support.fakes.content import digest
from tests.support.fakes.root import FakeRoot


class FakeSource(FakeRoot):
    """A source tree in a dict. Passes tests/contract/test_source.py.

    The signature of a file is its content.

    Attributes:
        stable: whether a snapshot's stamp is stable.
        hashed: paths of all snapshots that were taken.
        reads: pairs (path, offset) of all reads.
        unlisted: directories that cannot be listed, with the reason.
        unreadable: files that cannot be read, with the reason.
        denied: paths whose lstat fails, with the errno.
        left_out: paths that exist and are not replicated, with the reason.
        verdicts: result of a snapshot by path, instead of READ; ignored if the snapshot is forced.
        is_excluded: called with (path, kind); True if the operator's patterns exclude the path.
        after_read: called with the path after each read.
    """

    def __init__(self):
        super().__init__()
        self.stable = True
        self.hashed = []
        self.bytes_read = self.files_hashed = 0
        self.reads = []
        self.unlisted = {}
        self.unreadable = {}
        self.denied = {}
        self.left_out = {}
        self.verdicts = {}
        self.is_excluded = lambda _path, _kind: False
        self.after_read = lambda _path: None

    def excluded(self, path, kind):
        return self.is_excluded(path, kind)

    def why_left_out(self, path):
        return self.left_out.get(path, "") if self.stat(path) is None else ""

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


def _has_name(path):
    """Return True for the paths that the real source can replicate; see `source.tree`."""
    try:
        check_path(path)
    except PathRefused:
        return False
    return not any(map(is_temporary, path.split(b"/")))
