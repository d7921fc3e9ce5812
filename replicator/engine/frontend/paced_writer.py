"""Writes frames to a channel in their order, at the pace that `ssh.bandwidth` allows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from replicator.engine.bandwidth import Bandwidth
from replicator.errors import ChannelLost
from replicator.ports import Channel


class PacedWriter:
    """Writes to one channel.

    Args:
        channel: the channel.
        bandwidth: the limit for all channels together.
        waited: called with the seconds for which a write has waited for its turn.

    Attributes:
        pending: the writes that have not ended. While there is one, or a limit, nothing else may write to the channel.
    """

    def __init__(
        self, channel: Channel, bandwidth: Bandwidth, waited: Callable[[float], None]
    ) -> None:
        self._channel = channel
        self._bandwidth = bandwidth
        self._waited = waited
        self._lock = asyncio.Lock()
        self._is_hurried = self._is_closed = False
        self.pending: set[asyncio.Task[None]] = set()

    async def write(self, frame: bytes, *, urgent: bool) -> None:
        """Write a frame after those before it.

        Args:
            frame: the bytes.
            urgent: False for bulk, before which everything else goes.

        Raises:
            ChannelLost: if the connection is lost.
        """
        # In a task: a caller that is cancelled must not leave half a frame.
        task = asyncio.get_running_loop().create_task(self._write_in_turn(frame, urgent=urgent))
        self.pending.add(task)
        task.add_done_callback(self._ended)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            ours = asyncio.current_task()
            if self._is_closed and not (ours and ours.cancelling()):
                raise ChannelLost("the connection was lost") from None
            raise

    def hurry(self) -> None:
        """Write the present frame as if it were urgent: a live change waits behind it."""
        if self.pending:
            self._is_hurried = True
            self._bandwidth.hurry(self)

    def close(self) -> None:
        """End all writes: the connection has ended."""
        self._is_closed = True
        for task in self.pending:
            task.cancel()
        self._bandwidth.forget(self)

    async def _write_in_turn(self, frame: bytes, *, urgent: bool) -> None:
        loop = asyncio.get_running_loop()
        async with self._lock:
            at = 0
            while at < len(frame):
                piece = frame[at : at + self._bandwidth.piece]
                if self._bandwidth.is_limited:
                    began = loop.time()
                    hurried = urgent or self._is_hurried
                    await self._bandwidth.turn(self, len(piece), urgent=hurried)
                    self._waited(loop.time() - began)
                await self._channel.write(piece)
                at += len(piece)
            self._is_hurried = False

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.pending.discard(task)
        if not task.cancelled():
            task.exception()  # a caller that was cancelled does not retrieve it
