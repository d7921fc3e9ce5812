"""One connection to one frontend: all that works on it, until the first of it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from replicator.engine.context import Context
from replicator.engine.frontend.comparisons import Comparisons
from replicator.engine.frontend.connection import Connection
from replicator.engine.frontend.dispatch import Dispatch
from replicator.engine.frontend.readiness import Readiness
from replicator.engine.frontend.sender import Listener, Sender
from replicator.ports import Channel

log = structlog.get_logger()


class Session:
    """Works on a connection.

    Args:
        channel: connected; the agent has said its marker.
        context: what all replicas share.
        dispatch: gives live changes to this connection from when it stands.
        comparisons: settle what is in doubt.
        listener: is told what becomes of what is sent.

    Attributes:
        link: the connection.
    """

    def __init__(
        self,
        channel: Channel,
        context: Context,
        dispatch: Dispatch,
        comparisons: Comparisons,
        listener: Listener,
    ) -> None:
        self._context = context
        self._dispatch = dispatch
        self._comparisons = comparisons
        dirty, retry = dispatch.dirty, context.retry
        self._courier = Sender(dirty, context.reader, context.pool, retry, listener)
        self.link = Connection(channel, self._courier.answered, self._courier.wake)

    async def run(
        self,
        greet: Callable[[Connection], Awaitable[Readiness]],
        follow: Callable[[Connection], Coroutine[Any, Any, None]],
    ) -> None:
        """Work until something fails.

        Args:
            greet: makes the agent ready for work, and returns what keeps the ready files.
            follow: decides when everything is compared.

        Raises:
            Exception: what failed, perhaps in a group.
        """
        try:
            await self._work(greet, follow)
        finally:
            self._courier.close()
            self.link.close("the connection was lost")

    async def _work(
        self,
        greet: Callable[[Connection], Awaitable[Readiness]],
        follow: Callable[[Connection], Coroutine[Any, Any, None]],
    ) -> None:
        context, link = self._context, self.link
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(link.receive())
            tasks.create_task(link.watch_silence(context.op_timeout))
            tasks.create_task(link.tell_sources())
            async with asyncio.timeout(context.connect_timeout):
                readiness = await greet(link)
            await readiness.begin(asyncio.get_running_loop().time())
            self._courier.links = "link" in link.features
            self._dispatch.connected(self._courier)
            tasks.create_task(readiness.keep())
            tasks.create_task(self._courier.run(link))
            tasks.create_task(self._comparisons.settle_doubts(link))
            tasks.create_task(follow(link))
