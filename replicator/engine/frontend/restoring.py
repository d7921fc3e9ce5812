"""The messages of one restore: the agent's requests for URLs, and its reports."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from replicator.engine.loop import loop_time
from replicator.errors import ChannelLost, ProtocolError
from replicator.wire.messages import EndRestore, Message, NeedUrls, Restore, Restored, Urls

QUEUE = 64
"""Messages of the agent that may wait: it reports once a second, and requests URLs of 16 packs at a time."""

GIVE_UP = 180.0
"""Seconds without any progress after which a restore is not waited for. An agent ends one after 120 s."""

UrlsOf = Callable[[Sequence[int]], Awaitable[list[str]]]
"""Returns the URL of each pack, by its index; an empty one where there is none."""


class Restoring:
    """Has one agent restore a tree, one at a time.

    Args:
        send: sends a message to the agent.
    """

    def __init__(self, send: Callable[[Message], Awaitable[None]]) -> None:
        self._send = send
        self._tree: int | None = None
        self._closed = ""
        self._received: deque[NeedUrls | Restored] = deque()
        self._changed = asyncio.Event()

    async def run(
        self, request: Restore, urls_of: UrlsOf, reported: Callable[[Restored], None]
    ) -> str:
        """Restore a tree; return why it ended early, or an empty string.

        Args:
            request: sent to the agent.
            urls_of: called for the URLs that the agent needs.
            reported: called with each report.

        Raises:
            ChannelLost: if the connection is lost.
        """
        self._tree = request.tree
        self._received.clear()
        last = Restored(request.tree, 0, 0, 0, 0)
        progress_at = loop_time()
        try:
            await self._send(request)
            while not last.end:
                async with asyncio.timeout_at(progress_at + GIVE_UP):
                    message = await self._next()
                if message is None:
                    await self._send(EndRestore(request.tree))
                    return "the tree was removed or paused"
                if isinstance(message, NeedUrls):
                    urls = await urls_of(message.packs)
                    await self._send(
                        Urls(message.tree, tuple(zip(message.packs, urls, strict=True)))
                    )
                else:
                    progress_at = loop_time() if message[:5] != last[:5] else progress_at
                    last = message
                    reported(message)
        except TimeoutError:
            await self._send(EndRestore(request.tree))
            return "there is no progress"
        finally:
            self._tree = None
        return last.error

    def receive(self, message: NeedUrls | Restored) -> None:
        """Receive a message; those about a restore that has ended here are ignored.

        Raises:
            ProtocolError: if the agent sends more than can be answered.
        """
        if message.tree != self._tree:
            return
        if len(self._received) >= QUEUE:
            raise ProtocolError("the agent sends too much about a restore")
        self._received.append(message)
        self._changed.set()

    def cancel(self, tree: int) -> None:
        """End the restore of a tree, if it is in progress: it was removed or paused."""
        if tree == self._tree:
            self._tree = None
            self._changed.set()

    def close(self, reason: str) -> None:
        """End the restore: its caller gets ChannelLost."""
        self._closed = reason
        self._changed.set()

    async def _next(self) -> NeedUrls | Restored | None:
        """Return the next message; None if the restore was cancelled."""
        while True:
            if self._closed:
                raise ChannelLost(self._closed)
            if self._tree is None:
                return None
            if self._received:
                return self._received.popleft()
            self._changed.clear()
            await self._changed.wait()
