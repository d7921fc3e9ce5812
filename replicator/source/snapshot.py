"""One consistent version of a file, read once: digest, signature and delta come from the same pass.

A file may change while it is read. The kernel is asked beforehand whether somebody has it open for writing; a stamp is
taken before and after, and must be the same (unison and git do so). Where a writer never lets go, two readings in a row
with one digest prove that these bytes stood in the file all at once, between the two.

A mapping would be faster and is not used: the truncation of a mapped file kills the reader (SIGBUS).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from replicator.delta.matching import Matcher
from replicator.delta.ops import Literal, Op
from replicator.delta.signature import Signature, Signer, block_size_for
from replicator.errors import DeltaError, SourceError
from replicator.files.walk import PERMISSIONS
from replicator.model import FILE, Entry, Stamp
from replicator.ports import Snapshot, Verdict

CHUNK = 1 << 20
"""Bytes read at once: long enough for hashlib to let go of the interpreter, short enough for the cache."""

MEMORY_LIMIT = 4 << 20
"""Bytes of content that a snapshot carries; four workers hold at most 32 MiB of whole contents and deltas."""

LOOK_EVERY = 64 * CHUNK
"""Bytes after which a file that is being read is looked at: it may have been removed."""

SMALL = 64 << 10
"""Smaller files are sent whole: a signature would cost more than it spares."""

WORTHWHILE = 0.7
"""A delta that sends more than this part of the file is dropped: applying it costs the frontend a second reading."""

GRANULARITY_NS = 20_000_000
"""Twice the coarsest tick of the kernel's file clock (10 ms at HZ=100): a later write in the same tick would carry the
same stamp (git calls such entries racy)."""

ATTEMPTS = 3
"""Readings of a file that never stands still before it is left for later."""


@dataclass
class Reader:
    """How one file is read.

    Args:
        fd: the open file.
        multiplier: the catalog's, for the signature.
        base: the version that frontends hold, if one is known.
        stopped: asked between chunks; True ends the reading, however much is left of a huge file.

    Attributes:
        bytes_read: so far.
    """

    fd: int
    multiplier: int
    base: Signature | None = None
    stopped: Callable[[], bool] = bool
    bytes_read: int = field(default=0, init=False)

    def snapshot(self, *, force: bool, unclosed: bool = False) -> Snapshot:
        """Read one version.

        Args:
            force: even if somebody has the file open for writing.
            unclosed: not if the kernel does not tell whether somebody has.

        Raises:
            OSError: the kernel refuses (EIO and the like).
            SourceError: it was stopped.
        """
        if not force and has_writer(self.fd, unknown=unclosed):
            return Snapshot(verdict=Verdict.BUSY)
        for _ in range(ATTEMPTS if force else 1):
            taken = self._attempt(force=force)
            if taken is None:
                continue
            # Within one tick of the clock a stamp proves nothing: ask again for whoever came meanwhile.
            if not force and not taken.firm and has_writer(self.fd, unknown=unclosed):
                return Snapshot(verdict=Verdict.BUSY)
            return taken
        return Snapshot(verdict=Verdict.TORN)

    def _attempt(self, *, force: bool) -> Snapshot | None:
        begun = time.time_ns()
        status = os.fstat(self.fd)
        stamp = stamp_of(status)
        content = _Content(stamp.size, self.base, self.multiplier)
        if self._read(stamp.size, content) < stamp.size:
            return None
        still = stamp_of(os.fstat(self.fd)) == stamp
        if not still and not (force and self._reads_again(stamp.size, content.digest)):
            return None
        mode, size = status.st_mode & PERMISSIONS, stamp.size
        ops, is_delta = content.outcome()
        return Snapshot(
            verdict=Verdict.READ,
            entry=Entry(FILE, mode, size, stamp.mtime_ns, digest=content.digest),
            stamp=stamp,
            firm=still and max(stamp.mtime_ns, stamp.ctime_ns) < begun - GRANULARITY_NS,
            signature=content.signature(),
            ops=ops,
            is_delta=is_delta,
        )

    def _reads_again(self, size: int, digest: bytes) -> bool:
        again = _Digest()
        return self._read(size, again) == size and again.digest == digest

    def _read(self, size: int, sink: _Digest) -> int:
        """Feed the first `size` bytes to `sink`; return how many there were."""
        at = 0
        while at < size:
            chunk = os.pread(self.fd, min(CHUNK, size - at), at)
            if not chunk:
                break
            at += len(chunk)
            sink.feed(chunk)
            if self.stopped():
                raise SourceError("The tree is not read any more.")
            if at % LOOK_EVERY == 0 and os.fstat(self.fd).st_nlink == 0:
                break  # it was removed: no need to read a huge file to its end
        self.bytes_read += at
        return at


class _Digest:
    """Takes bytes for their SHA-256."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def feed(self, chunk: bytes) -> None:
        """Add the next bytes."""
        self._hash.update(chunk)

    @property
    def digest(self) -> bytes:
        """SHA-256 of all bytes."""
        return self._hash.digest()


class _Content(_Digest):
    """Takes the bytes of one version for everything that is wanted of them."""

    def __init__(self, size: int, base: Signature | None, multiplier: int) -> None:
        super().__init__()
        self._size = size
        self._whole: list[Op] | None = [] if size <= MEMORY_LIMIT else None
        large = size >= SMALL
        self._signer = Signer(block_size_for(size), multiplier) if large else None
        self._matcher = Matcher(base) if base is not None and large else None
        self._delta: list[Op] = []
        self._literal = 0

    def feed(self, chunk: bytes) -> None:
        """Add the next bytes."""
        super().feed(chunk)
        if self._whole is not None:
            self._whole.append(Literal(chunk))
        if self._signer is not None:
            self._signer.update(chunk)
        if self._matcher is not None:
            self._collect(self._matcher.feed(chunk))

    def signature(self) -> bytes | None:
        """Return the packed signature; call it once, at the end."""
        return self._signer.finish().pack() if self._signer is not None else None

    def outcome(self) -> tuple[list[Op] | None, bool]:
        """Return the instructions that are cheapest to send, and whether they are a delta; call it once, at the end."""
        if self._matcher is not None:
            self._collect(self._matcher.finish())
        if self._matcher is not None:
            return self._delta, True
        return self._whole, False

    def _collect(self, ops: list[Op]) -> None:
        """Keep instructions of the delta, or give it up once it is not worth its bytes."""
        self._delta += ops
        self._literal += sum(len(op.data) for op in ops if isinstance(op, Literal))
        if self._literal > min(MEMORY_LIMIT, WORTHWHILE * self._size):
            self._matcher, self._delta = None, []


def stamp_of(status: os.stat_result) -> Stamp:
    """Return what of a status tells one version from another."""
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def base_of(packed: bytes | None) -> Signature | None:
    """Return the base that a packed signature describes; None if it is none, or of another version."""
    try:
        return Signature.unpack(packed) if packed else None
    except DeltaError:
        return None


def has_writer(fd: int, *, unknown: bool = False) -> bool:
    """Return True if any process has the file open for writing, False if not, and `unknown` if the kernel does not tell.

    A read lease is granted only while there is no writer. It is given back at once; a writer that opens the file in that
    microsecond waits for it. The kernel then sends a signal, SIGIO by default, which kills; SIGURG is ignored by default.
    Not told: files of other users (without CAP_LEASE), and file systems without leases.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN or unknown
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False
