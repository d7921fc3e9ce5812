"""A frontend's directory in memory."""

import errno
import hashlib
import os

from replicator.agent.refusals import Refused
from replicator.model import (
    DIRECTORY,
    FILE,
    SYMLINK,
    Entry,
    ancestors,
    is_below,
    is_within,
    parent,
    rebase,
)
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


class FakeDisk:
    """The frontend's directory, as entries by path; applies changes and refuses them as the agent's store does.

    Attributes:
        disk: the entries.
        refusals: (reason, detail) by path; changes of these paths are refused.
        mode_bits: the bits of a mode that are applied.
    """

    def __init__(self, disk):
        self.disk = disk
        self.refusals = {}
        self.mode_bits = 0o7777
        self._handlers = {
            Delete: self._delete,
            Link: self._link,
            MakeDirectory: self._make_directory,
            MakeSymlink: self._make_symlink,
            Move: self._move,
            SetAttributes: self._set_attributes,
        }

    def apply(self, change, content):
        """Apply a change; the content of a delta is None: its digest is not verified.

        Raises:
            Refused: if the agent would refuse it.
        """
        self.check_allowed(change.path)
        if isinstance(change, PutFile):
            self._put(change, content)
        else:
            self._handlers[type(change)](change)

    def kind(self, path):
        return self.disk[path].kind if path in self.disk else None

    def check_allowed(self, path):
        if path in self.refusals:
            raise Refused(*self.refusals[path])

    def check_base(self, path):
        """Check that a change can build on what is at a path."""
        if self.kind(path) == DIRECTORY:
            raise Refused(PATH_REFUSED, "not a regular file")
        if self.kind(path) != FILE:
            raise Refused(BASE_MISMATCH, os.strerror(errno.ENOENT))

    def check_parent(self, path):
        for directory in ancestors(path):
            if self.kind(directory) not in (DIRECTORY, None):
                raise Refused(PATH_REFUSED, os.strerror(errno.ENOTDIR))
        if parent(path) and parent(path) not in self.disk:
            raise Refused(VANISHED, "its directory is not there")

    def _check_empty(self, path):
        if any(is_below(other, path) for other in self.disk):
            raise Refused(NOT_EMPTY, os.strerror(errno.ENOTEMPTY))

    def _put(self, put, content):
        if content is not None and hashlib.sha256(content).digest() != put.digest:
            raise Refused(DIGEST_MISMATCH)
        mode = put.mode & self.mode_bits
        self._replace(put.path, Entry(FILE, mode, put.size, put.mtime_ns, b"", put.digest))

    def _replace(self, path, entry):
        self.check_parent(path)
        self._check_empty(path)
        self.disk[path] = entry

    def _make_directory(self, change):
        self.check_parent(change.path)
        mode = change.mode & self.mode_bits
        self.disk[change.path] = Entry(DIRECTORY, mode, 0, change.mtime_ns)

    def _make_symlink(self, change):
        self._replace(change.path, Entry(SYMLINK, 0, 0, change.mtime_ns, change.link))

    def _link(self, change):
        if change.copy:
            self.check_base(change.source)
        entry = self.disk.get(change.source)
        announced = FILE, change.mode & self.mode_bits, change.size, change.mtime_ns
        if entry is None or entry[:4] != announced:
            raise Refused(BASE_MISMATCH, "the source is not the file that was announced")
        self._replace(change.path, entry)

    def _delete(self, change):
        self._check_empty(change.path)
        self.disk.pop(change.path, None)

    def _move(self, change):
        for end in (change.path, change.target):
            self.check_parent(end)
        kind, there = self.kind(change.path), self.kind(change.target)
        if kind is None:
            raise Refused(VANISHED, os.strerror(errno.ENOENT))
        if there is not None and (kind == DIRECTORY) != (there == DIRECTORY):
            raise Refused(PATH_REFUSED, "a file and a directory cannot replace each other")
        self._check_empty(change.target)
        for path in [p for p in self.disk if is_within(p, change.path)]:
            self.disk[rebase(path, change.path, change.target)] = self.disk.pop(path)

    def _set_attributes(self, change):
        self.check_base(change.path)
        entry = self.disk[change.path]
        if entry.size != change.size:
            raise Refused(BASE_MISMATCH, "the file has another size")
        if change.digest and entry.digest != change.digest:
            raise Refused(BASE_MISMATCH, "the file has other content")
        if not change.digest and entry.mtime_ns != change.old_mtime_ns:
            raise Refused(BASE_MISMATCH, "the file has another time")
        mode = change.mode & self.mode_bits
        self.disk[change.path] = entry._replace(mode=mode, mtime_ns=change.mtime_ns)
