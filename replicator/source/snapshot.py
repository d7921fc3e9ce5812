"""Read one consistent version of a file: digest, signature and delta are computed in one pass.

A file may change while it is read. Before the read, the kernel is asked whether a process has the file open for writing; the stamps
before and after the read must be equal (as in unison and git). For a file that never stops changing, two consecutive reads with the
same digest prove that the file had exactly this content at one moment, between the two.

mmap(2) would be faster, but truncation of a mapped file kills the reader (SIGBUS).
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
from replicator.delta.ops import Literal, Op, literal_bytes
from replicator.delta.signature import Signature, Signer, block_size_for
from replicator.errors import DeltaError, SourceError
from replicator.files.walk import PERMISSIONS
from replicator.model import FILE, Entry, Stamp
from replicator.ports import Snapshot, Verdict

CHUNK = 1 << 20
"""Bytes per read: large enough for hashlib to release the GIL, small enough for the CPU cache."""

MEMORY_LIMIT = 4 << 20
"""Maximum bytes of content in a snapshot; four workers hold at most 32 MiB of contents and deltas."""

LOOK_EVERY = 64 * CHUNK
"""Bytes between two checks of whether the file being read was removed."""

SMALL = 64 << 10
"""Files below this size in bytes are sent whole: a signature would cost more than it saves."""

WORTHWHILE = 0.7
"""A delta with more literal bytes than this fraction of the file is dropped: the frontend would have to read the base for it."""

GRANULARITY_NS = 20_000_000
"""Twice the coarsest tick of the kernel's file clock (10 ms at HZ=100). A later write in the same tick would have the same stamp
(git calls such entries racy)."""

ATTEMPTS = 3
"""Attempts to read a file that keeps changing, before it is left for later."""


@dataclass
class Reader:
    """Reads one file.

    Args:
        fd: descriptor of the file, which the caller closes.
        multiplier: the catalog's multiplier, for the signature.
        base: signature of the version that the frontends hold; None: make no delta.
        stopped: called after each chunk; if it returns True, the read ends with SourceError.

    Attributes:
        bytes_read: number of bytes read so far.
    """

    fd: int
    multiplier: int
    base: Signature | None = None
    stopped: Callable[[], bool] = bool
    bytes_read: int = field(default=0, init=False)

    def snapshot(self, *, force: bool, unclosed: bool = False) -> Snapshot:
        """Read one version.

        Args:
            force: read the file even if a process has it open for writing.
            unclosed: return BUSY if the kernel cannot tell whether a process has it open for writing.

        Raises:
            OSError: if a read fails (EIO).
            SourceError: if `stopped` returned True.
        """
        if not force and has_writer(self.fd, unknown=unclosed):
            return Snapshot(verdict=Verdict.BUSY)
        for _ in range(ATTEMPTS if force else 1):
            taken = self._attempt(force=force)
            if taken is None:
                continue
            # Within one clock tick a stamp proves nothing: check again for a writer that came during the read.
            if not force and not taken.stable and has_writer(self.fd, unknown=unclosed):
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
            stable=still and max(stamp.mtime_ns, stamp.ctime_ns) < begun - GRANULARITY_NS,
            signature=content.signature(),
            ops=ops,
            is_delta=is_delta,
        )

    def _reads_again(self, size: int, digest: bytes) -> bool:
        again = _Digest()
        return self._read(size, again) == size and again.digest == digest

    def _read(self, size: int, sink: _Digest) -> int:
        """Feed the first `size` bytes of the file to `sink`; return how many were read."""
        at = 0
        while at < size:
            chunk = os.pread(self.fd, min(CHUNK, size - at), at)
            if not chunk:
                break
            at += len(chunk)
            sink.feed(chunk)
            if self.stopped():
                raise SourceError("The source tree was closed.")
            if at % LOOK_EVERY == 0 and os.fstat(self.fd).st_nlink == 0:
                break  # the file was removed
        self.bytes_read += at
        return at


class _Digest:
    """Computes the SHA-256 of the bytes it is fed."""

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
    """Computes digest, signature and delta of the bytes it is fed.

    Args:
        size: expected size in bytes.
        base: signature to make a delta against; None: none.
        multiplier: the catalog's multiplier.
    """

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
        """Return the packed signature; None for a small file. Call it once, after the last byte."""
        return self._signer.finish().pack() if self._signer is not None else None

    def outcome(self) -> tuple[list[Op] | None, bool]:
        """Return the instructions to send, and whether they are a delta. Call it once, after the last byte.

        The instructions are None if neither the content nor a delta fits into MEMORY_LIMIT.
        """
        if self._matcher is not None:
            self._collect(self._matcher.finish())
        if self._matcher is not None:
            return self._delta, True
        return self._whole, False

    def _collect(self, ops: list[Op]) -> None:
        """Add instructions to the delta; drop the delta once it holds too many literal bytes."""
        self._delta += ops
        self._literal += literal_bytes(ops)
        if self._literal > min(MEMORY_LIMIT, WORTHWHILE * self._size):
            self._matcher, self._delta = None, []


def stamp_of(status: os.stat_result) -> Stamp:
    """Return the fields of a stat result that identify a version."""
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def base_of(packed: bytes | None) -> Signature | None:
    """Return the unpacked signature; None if there is none, or it has another format."""
    try:
        return Signature.unpack(packed) if packed else None
    except DeltaError:
        return None


def has_writer(fd: int, *, unknown: bool = False) -> bool:
    """Return True if any process has the file open for writing, False if none has, and `unknown` if the kernel cannot tell.

    The kernel grants a read lease (fcntl(2), F_SETLEASE) only while there is no writer. The lease is released at once; a process that
    opens the file for writing in that microsecond waits for the release, and the kernel signals us. The default signal SIGIO would
    kill this process; SIGURG is ignored by default. The kernel cannot tell for files of other users (without CAP_LEASE), nor on file
    systems without leases.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN or unknown
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False
