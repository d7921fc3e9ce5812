"""Request the sums of the blocks of a file that a frontend holds."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from replicator.core.pending import Key
from replicator.delta.signature import AgentSignature, block_size_for
from replicator.delta.sums import ROW
from replicator.engine.changes.difference import HeldVersion
from replicator.engine.frontend.progress_timeout import ProgressTimeout
from replicator.errors import ChannelLost, DeltaError, ProtocolError
from replicator.wire.messages import BlockSums, SumBlocks
from replicator.wire.sums import MAX_BLOCK, MAX_ROWS, MIN_BLOCK

SIMILAR = 8
"""A file on the frontend that is smaller or larger by more than this factor is not summed: little of it would be used."""

MOST_BLOCKS = 1 << 17
"""Blocks of a file on a frontend at most: their sums take 1.5 MiB, and the matcher's table of them 20 MB. Files beyond 512 GiB are sent whole."""

STRETCH = 32 << 20
"""Bytes of the file that one request covers: a disk of 10 MB/s answers within 3 s."""

AHEAD = 3
"""Requests in flight, so that the agent need not wait for the next: 64 MiB take it as long as a round trip of 60 ms."""


class BlockSumsRequests:
    """Requests sums from one agent, of one file at a time.

    Args:
        send: sends a message to the agent.
        progress_timeout: notified of each request, and of each answer.
    """

    def __init__(
        self,
        send: Callable[[SumBlocks], Awaitable[None]],
        progress_timeout: ProgressTimeout,
    ) -> None:
        self._send = send
        self._progress_timeout = progress_timeout
        self._job = 0
        self._requested: deque[SumBlocks] = deque()
        self._answers: deque[tuple[BlockSums, bytes]] = deque()
        self._changed = asyncio.Event()
        self._closed = ""

    @property
    def is_due(self) -> bool:
        """True if the agent has yet to answer."""
        return bool(self._requested)

    async def request(self, key: Key, size: int, multiplier: int) -> HeldVersion | None:
        """Return what the frontend holds at a path; None if nothing can be made of it.

        Args:
            key: the path.
            size: bytes of the file on the backend.
            multiplier: of the weak sums.

        Raises:
            ChannelLost: if the connection is lost.
        """
        block = _block_size_for(size)
        most = min(SIMILAR * size, block * MOST_BLOCKS)
        if size > most:
            return None
        blocks = min(MAX_ROWS, STRETCH // block)
        template = SumBlocks(
            0, *key, size // SIMILAR, most, block, multiplier, first=0, blocks=blocks
        )
        rows = await self._rows(template)
        if rows is None:
            return None
        held, data = rows
        try:
            signature = AgentSignature.of_rows(held.size, block, multiplier, data)
        except DeltaError:
            return None
        return HeldVersion(signature, held.version)

    async def _rows(self, template: SumBlocks) -> tuple[BlockSums, bytes] | None:
        """Return the last answer and all rows; None if the file cannot be summed, or changes meanwhile."""
        data = bytearray()
        first, blocks = 0, template.blocks
        held, rows = await self._ask(template)
        end = -(-held.size // template.block_size)
        waiting = 0
        known = held
        while held.size >= 0 and held[1:] == known[1:]:
            data += rows
            if len(data) > end * ROW:
                return None
            while waiting < AHEAD and first + blocks < end:
                first += blocks
                await self._request(template._replace(first=first))
                waiting += 1
            if not waiting:
                return held, bytes(data)
            held, rows = await self._answer()
            waiting -= 1
        while waiting:
            await self._answer()
            waiting -= 1
        return None

    async def _ask(self, request: SumBlocks) -> tuple[BlockSums, bytes]:
        await self._request(request)
        return await self._answer()

    async def _request(self, request: SumBlocks) -> None:
        self._progress_timeout.requesting()
        self._job += 1
        request = request._replace(job=self._job)
        self._requested.append(request)
        await self._send(request)

    async def _answer(self) -> tuple[BlockSums, bytes]:
        while not self._answers:
            if self._closed:
                raise ChannelLost(self._closed)
            self._changed.clear()
            await self._changed.wait()
        return self._answers.popleft()

    def receive(self, answer: BlockSums, rows: bytes) -> None:
        """Receive an answer.

        Raises:
            ProtocolError: if it was not requested, or has more rows than were requested.
        """
        if not self._requested or self._requested[0].job != answer.job:
            raise ProtocolError("the agent has summed what it was not asked for")
        request = self._requested.popleft()
        if len(rows) > ROW * request.blocks or not (
            answer.size < 0 or request.least <= answer.size <= request.most
        ):
            raise ProtocolError("the agent has summed more than it was asked for")
        self._progress_timeout.progressed()
        self._answers.append((answer, rows))
        self._changed.set()

    def close(self, reason: str) -> None:
        """End the request: its caller gets ChannelLost."""
        self._closed = reason
        self._changed.set()


def _block_size_for(size: int) -> int:
    """Return the block size in bytes for a file of `size` bytes: half of a signature's, or more where there would be too many blocks.

    A row takes 12 bytes, not 20, and a frontend that was away lacks several edits rather than one. Each costs a block: with 200 edits in a
    little more than 1 GiB, 7.1 MB are sent instead of 13.5.
    """
    block = max(MIN_BLOCK, block_size_for(size) // 2)
    while block * MOST_BLOCKS < 2 * size and block < MAX_BLOCK:
        block *= 2
    return block
