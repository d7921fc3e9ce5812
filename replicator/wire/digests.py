"""Digests of directories, and the messages about them.

The digest of a directory is a SHA-256 over a line for everything that it directly holds; the line of a directory ends with its digest.
So equal digests mean equal trees. A line has what a comparison looks at: name, kind, size, time, mode, and the target of a symlink.
The owner is not in it: an agent that finds another one than it was asked for has no digest for the directory.

An empty digest means that there is none. It equals nothing, and neither does that of any directory above.
"""

from __future__ import annotations

import hashlib
from typing import Any, Iterable, NamedTuple

from replicator.model import DIRECTORY, SYMLINK
from replicator.wire import fields
from replicator.wire.fields import text_of

MAX_ROWS = 5000
"""Rows in one message: checking as many takes some milliseconds."""

MAX_SKIPPED = 10
"""Paths that a request may leave out."""


class DigestTree(NamedTuple):
    """Request the digest of a directory; everything below it is walked once.

    `bits`: mode bits that count. `credit`: frames that may be sent before the first More. `skipped`: paths of files that do not count.
    """

    job: int
    tree: int
    below: bytes
    bits: int
    credit: int
    skipped: tuple[bytes, ...] = ()

    def header(self) -> dict[str, Any]:
        """Return the frame header."""
        return {
            "t": "digest",
            "job": self.job,
            "tree": self.tree,
            "below": text_of(self.below),
            "bits": self.bits,
            "credit": self.credit,
            "skipped": [text_of(path) for path in self.skipped],
        }


class Descend(NamedTuple):
    """Request the digests of the directories that some directories directly hold, as of the walk for the same job.

    `opened`: these directories. `whole`: directories whose digests are not needed: a listing shows everything below them.
    Grants one more frame.
    """

    job: int
    opened: tuple[bytes, ...]
    whole: tuple[bytes, ...]

    def header(self) -> dict[str, Any]:
        """Return the frame header."""
        return {
            "t": "descend",
            "job": self.job,
            "opened": [text_of(path) for path in self.opened],
            "whole": [text_of(path) for path in self.whole],
        }


class Digests(NamedTuple):
    """The next digests of directories, in key order; `end` marks the last frame of an answer.

    `walked`: number of paths walked since the last frame.
    """

    job: int
    rows: tuple[tuple[bytes, bytes], ...]
    walked: int
    end: bool

    def header(self) -> dict[str, Any]:
        """Return the frame header."""
        return {
            "t": "digests",
            "job": self.job,
            "rows": [[text_of(path), digest.hex()] for path, digest in self.rows],
            "walked": self.walked,
            "end": self.end,
        }


def parse_digest(header: dict[str, Any]) -> DigestTree:
    """Return the message in a frame header. Raises ProtocolError, and KeyError for a missing field."""
    return DigestTree(
        fields.number(header["job"]),
        fields.tree(header["tree"]),
        fields.path_or_root(header["below"]),
        fields.mode(header["bits"]),
        fields.number(header["credit"]),
        tuple(map(fields.path, fields.array(header["skipped"], MAX_SKIPPED))),
    )


def parse_descend(header: dict[str, Any]) -> Descend:
    """Return the message in a frame header. Raises ProtocolError, and KeyError for a missing field."""
    return Descend(
        fields.number(header["job"]),
        tuple(map(fields.path_or_root, fields.array(header["opened"], MAX_ROWS))),
        tuple(map(fields.path_or_root, fields.array(header["whole"], MAX_ROWS))),
    )


def parse_digests(header: dict[str, Any]) -> Digests:
    """Return the message in a frame header. Raises ProtocolError, and KeyError for a missing field."""
    rows = (
        fields.row((fields.path_or_root, fields.digest_or_none), row)
        for row in fields.array(header["rows"], MAX_ROWS)
    )
    return Digests(
        fields.number(header["job"]),
        tuple((path, digest) for path, digest in rows),
        fields.number(header["walked"]),
        fields.flag(header["end"]),
    )


def line_of(kind: str, mode: int, size: int, mtime_ns: int, link: bytes, name: bytes) -> bytes:
    """Return the line of an entry. That of a directory is followed by its digest; no two other lines begin alike.

    Args:
        kind: FILE, DIRECTORY or SYMLINK.
        mode: permission bits, of those that count.
        size: bytes of content, of a file.
        mtime_ns: modification time.
        link: target of a symlink.
        name: its name in the directory.
    """
    if kind == DIRECTORY:
        return b"d%o %d %b\0" % (mode, mtime_ns, name)
    if kind == SYMLINK:
        return b"l%d %b\0%b\0" % (mtime_ns, link, name)
    return b"f%o %d %d %b\0" % (mode, min(size, fields.MAX_FILE), mtime_ns, name)


def digest_of(others: bytes, directories: Iterable[bytes]) -> bytes:
    """Return the digest of a directory.

    Args:
        others: SHA-256 of the lines of the files and symlinks that it directly holds, in the order of their names.
        directories: the lines of the directories, each followed by its digest, in the order of their names.
    """
    return hashlib.sha256(b"".join((others, *directories))).digest()
