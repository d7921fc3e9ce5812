"""One connection to one frontend: all that works on it, until the first of it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from replicator.engine.commons import Commons
from replicator.engine.comparisons import Comparisons
from replicator.engine.courier import Courier, Listener
from replicator.engine.dispatch import Dispatch
from replicator.engine.link import Link
from replicator.engine.readiness import Readiness
from replicator.ports import Channel

log = structlog.get_logger()


class Session:
    """Works on a connection.

    Args:
        channel: connected; the agent has said its marker.
        commons: what all replicas share.
        dispatch: gives live changes to this connection from when it stands.
        comparisons: settle what is in doubt.
        listener: is told what becomes of what is sent.

    Attributes:
        link: the connection.
    """

    def __init__(
        self,
        channel: Channel,
        commons: Commons,
        dispatch: Dispatch,
        comparisons: Comparisons,
        listener: Listener,
    ) -> None:
        self._commons = commons
        self._dispatch = dispatch
        self._comparisons = comparisons
        dirty, retry = dispatch.dirty, commons.retry
        self._courier = Courier(dirty, commons.supply, commons.pool, retry, listener)
        self.link = Link(channel, self._courier.answered, self._courier.wake)

    async def run(
        self,
        greet: Callable[[Link], Awaitable[Readiness]],
        follow: Callable[[Link], Coroutine[Any, Any, None]],
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
        greet: Callable[[Link], Awaitable[Readiness]],
        follow: Callable[[Link], Coroutine[Any, Any, None]],
    ) -> None:
        commons, link = self._commons, self.link
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(link.receive())
            tasks.create_task(link.watch_silence(commons.op_timeout))
            tasks.create_task(link.tell_sources())
            async with asyncio.timeout(commons.connect_timeout):
                readiness = await greet(link)
            await readiness.begin(asyncio.get_running_loop().time())
            self._courier.links = "link" in link.features
            self._dispatch.connected(self._courier)
            tasks.create_task(readiness.keep())
            tasks.create_task(self._courier.run(link))
            tasks.create_task(self._comparisons.settle_doubts(link))
            tasks.create_task(follow(link))
