"""Sum the blocks of files for the backend in small steps, so that live changes never wait for a large file."""

from __future__ import annotations

import os
from collections import deque
from typing import Iterator, NamedTuple, Optional

from replicator.agent.store import Store
from replicator.delta.sums import RowMaker
from replicator.errors import PathRefused, ProtocolError
from replicator.wire.messages import BlockSums, SumBlocks

STEP = 1 << 20
"""Bytes read between two checks for input, unless a block is larger: 1 to 2 ms."""

MOST = 16
"""Requests that may wait. The backend has a few in flight; more are a protocol error."""


class Summed(NamedTuple):
    """An answer, and its payload."""

    message: BlockSums
    rows: bytes


class Summing:
    """The requests for sums that are not answered yet; they are answered in their order."""

    def __init__(self) -> None:
        self._requests: deque[tuple[Store, SumBlocks]] = deque()
        self._steps: Optional[Iterator[Optional[Summed]]] = None

    def __bool__(self) -> bool:
        """True while a request is to be answered."""
        return bool(self._requests)

    def add(self, store: Store, request: SumBlocks) -> None:
        """Add a request.

        Raises:
            ProtocolError: too many are waiting.
        """
        if len(self._requests) >= MOST:
            raise ProtocolError("too many requests for block sums")
        self._requests.append((store, request))

    def step(self) -> Optional[Summed]:
        """Work for a few milliseconds; return the next answer, or None if it needs further steps."""
        if self._steps is None:
            self._steps = _steps(*self._requests[0])
        summed = next(self._steps)
        if summed is not None:
            self._requests.popleft()
            self._steps = None
        return summed

    def closed(self, store: Store) -> list[BlockSums]:
        """Return the answers to the requests about a tree that is opened again: nothing is known of its files."""
        if self._requests and self._requests[0][0] is store:
            self._steps = None
        ended = [BlockSums(request.job) for of, request in self._requests if of is store]
        self._requests = deque(one for one in self._requests if one[0] is not store)
        return ended


def version_of(status: os.stat_result) -> str:
    """Return the version of a file, which differs after each change of it that the file system's clock can tell apart."""
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}-{status.st_ino}"


def _steps(store: Store, request: SumBlocks) -> Iterator[Optional[Summed]]:
    """Yield None after each step, and then the answer."""
    block = request.block_size
    maker = RowMaker(block, request.multiplier)
    offset, end = request.first * block, (request.first + request.blocks) * block
    length = max(1, STEP // block) * block
    rows = bytearray()
    size, version = -1, ""
    while offset < end:
        try:
            # Open the file again for each piece: between two pieces a live change may close the held descriptors.
            fd = store.tree.open_file(request.path)
            try:
                status = os.fstat(fd)
                if version not in ("", version_of(status)):
                    break
                size, version = status.st_size, version_of(status)
                if not request.least <= size <= request.most:
                    break
                wanted = max(0, min(length, end - offset, size - offset))
                piece = os.pread(fd, wanted, offset)
            finally:
                os.close(fd)
        except (OSError, PathRefused):
            break
        if len(piece) < wanted:
            break
        rows += maker.rows(memoryview(piece))
        offset += length
        if offset >= min(end, size):
            yield Summed(BlockSums(request.job, size, version), bytes(rows))
            return
        yield None
    yield Summed(BlockSums(request.job), b"")
