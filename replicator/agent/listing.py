"""List a tree for the backend in small steps, so that live changes never wait for a long listing."""

from __future__ import annotations

import hashlib
import os
import time
from typing import Generator, Iterator, Optional

from replicator.agent.descriptors import sweep
from replicator.agent.digesting import DigestJob
from replicator.agent.store import Store
from replicator.errors import PathRefused
from replicator.files.walk import Met, walk
from replicator.model import (
    DIRECTORY,
    FILE,
    MAX_NAME,
    Entry,
    Listed,
    Unlisted,
    is_below,
    is_path,
    key,
)
from replicator.wire.fields import MAX_FILE
from replicator.wire.messages import Listing, ListTree

LINES = 500
"""Lines in a frame: about 60 KB of JSON, and 3 ms of work between two checks for input."""

_ROOM = 512 << 10
"""Bytes of JSON that the names in a frame may take at worst, so that long names cannot make a frame too large to send."""

HOLLOW = 1 << 40
"""Bytes (1 TiB) above which a sparse file is not hashed: reading 1 TiB of holes takes some minutes."""

_HASH_STEP = 1 << 20

LEAST = 64 << 10
"""Bytes that a small file counts for under a limit: opening and reading it costs a disk two accesses, not only its bytes."""

PAUSE = 0.5
"""Longest pause in seconds between two steps, so that the backend gets signs of life also at a low rate."""

FRAME_WITHIN = 2.0
"""Seconds after which a frame is sent although it is not full, if files are hashed: an interrupted listing continues after it."""


class Pace:
    """Limits how many bytes are hashed per second.

    Args:
        rate: bytes per second; 0: no limit.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._due = time.monotonic()

    def pause(self) -> float:
        """Return the seconds until more may be read, at most PAUSE."""
        return max(0.0, min(PAUSE, self._due - time.monotonic())) if self._rate else 0.0

    def read(self, size: int) -> None:
        """Count bytes that were read."""
        if self._rate:
            self._due = max(self._due, time.monotonic() - PAUSE) + size / self._rate


class ListingJob:
    """A listing in progress.

    It sends at most `credit` frames; the backend grants more as it reads, so the agent never blocks on a full channel while
    changes wait behind the listing.

    Args:
        store: the tree.
        request: the request.
        walk: the walk that the request names; None: everything is listed.

    Raises:
        Fenced: a newer agent has taken over.
    """

    def __init__(self, store: Store, request: ListTree, walk: Optional[DigestJob] = None) -> None:
        store.lease.take_over()  # the listing would not show what an older agent changes after it
        self.job = request.job
        self.store = store
        self.credit = request.credit
        self._pace = Pace(request.rate)
        self._steps = _produce(store, request, self._pace, walk)

    def pause(self) -> float:
        """Return the seconds until the next step may read more."""
        return self._pace.pause()

    def step(self) -> Optional[Listing]:
        """Work for a few milliseconds; return the next frame, or None if it needs further steps."""
        if self.pause():
            return None
        listing = next(self._steps)
        if listing is not None:
            self.credit -= 1
        return listing


def _produce(
    store: Store, request: ListTree, pace: Pace, job: Optional[DigestJob]
) -> Iterator[Optional[Listing]]:
    lines: list[Listed] = []
    unlisted: list[Unlisted] = []
    room = _ROOM
    began = time.monotonic()
    after = key(request.after)

    def is_listed(path: bytes) -> bool:
        """Return True for a path that the interrupted listing covered, together with everything below it.

        Skipping it saves its lstat: on a cold or remote disk a million of them take minutes, in which nothing is sent.
        """
        return key(path) < after and not is_below(request.after, path)

    def is_left_out(path: bytes) -> bool:
        return job is not None and bool(job.left_out(path))

    for met in walk(
        store.tree,
        request.below,
        passed=is_listed if after else None,
        temporary=sweep,
        shallow=is_left_out if job else None,
    ):
        if after and key(met.path) <= after and not isinstance(met, Unlisted):
            continue
        if len(met.path) > MAX_NAME and not is_path(met.path):
            continue  # from a file system with longer names: not replicated, and rejected by the wire format
        room -= _at_worst(met.path)
        if isinstance(met, Unlisted):
            unlisted.append(met)
        else:
            entry = yield from _entry(store, request, met, pace, job)
            room -= _at_worst(entry.link)
            lines.append(Listed(met.path, entry, met.status.st_uid, met.status.st_gid))
        late = request.digest and time.monotonic() - began > FRAME_WITHIN
        if len(lines) >= LINES or room <= 0 or late:
            yield Listing(request.job, tuple(lines), tuple(unlisted), end=False)
            lines, unlisted, room = [], [], _ROOM
            began = time.monotonic()
    yield Listing(request.job, tuple(lines), tuple(unlisted), end=True)


def _entry(
    store: Store, request: ListTree, met: Met, pace: Pace, job: Optional[DigestJob]
) -> Generator[None, None, Entry]:
    """Return the entry of a line, with the digest of the content or of the directory if that is wanted."""
    entry = met.entry
    if entry.size > MAX_FILE:  # a backend of the previous release accepts no larger size
        entry = entry._replace(size=MAX_FILE)
    if request.digest and entry.kind == FILE and not _is_hollow(met.status):
        return entry._replace(digest=(yield from _digest(store, met.path, pace)))
    if job is not None and entry.kind == DIRECTORY:
        return entry._replace(digest=job.left_out(met.path))
    return entry


def _is_hollow(status: os.stat_result) -> bool:
    """Return True for a file of more than 1 TiB that is mostly holes, which is listed without a digest: 2 PiB would take weeks."""
    return status.st_size > HOLLOW and status.st_blocks * 512 < status.st_size // 2


def _at_worst(name: bytes) -> int:
    """Return the bytes that a line may take in JSON, where a byte of the name may become six; 100 are for the other fields."""
    return 6 * len(name) + 100


def _digest(store: Store, path: bytes, pace: Pace) -> Generator[None, None, bytes]:
    """Return a file's SHA-256, empty if it cannot be read; yield after each piece of 1 MiB, and when the limit is reached."""
    digest = hashlib.sha256()
    offset = 0
    while True:
        try:
            # Open the file again for each piece: between two pieces a live change may close the held descriptors.
            fd = store.tree.open_file(path)
            try:
                piece = os.pread(fd, _HASH_STEP, offset)
            finally:
                os.close(fd)
        except (OSError, PathRefused):
            return b""
        if not piece:
            return digest.digest()
        pace.read(len(piece) if offset else max(len(piece), LEAST))
        digest.update(piece)
        offset += len(piece)
        if len(piece) == _HASH_STEP or pace.pause():
            yield None
