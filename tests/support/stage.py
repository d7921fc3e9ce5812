"""One replica with frontends in memory."""

import asyncio

from replicator.core.lifecycle import State
from replicator.core.pace import Backoff
from replicator.engine.changes.create import move_change
from replicator.engine.changes.encode import encode_update
from replicator.engine.frontend.replica import Replica
from replicator.model import is_below, rebase
from replicator.wire.messages import ListTree
from tests.support.frontends import Backdrop, candidate

NEVER = 3600.0
"""Seconds; longer than any test."""


class Stage(Backdrop):
    """One replica with frontends in memory, and a record of its states."""

    def __init__(self, pool):
        super().__init__(pool)
        self.replica = Replica(candidate("a"), self.context)
        self.task = None

    def start(self):
        self.task = asyncio.get_running_loop().create_task(self.replica.run())

    async def live(self):
        if self.task is None:
            self.start()
        await self.turned(self.replica, State.LIVE)

    async def stop(self):
        if self.task is not None:
            for agent in self.agents.get("a", ()):
                agent.open.set()
            while not self.task.done():  # a single cancellation may be lost: see test_fleet
                self.task.cancel()
                await asyncio.wait([self.task], timeout=0.1)

    def retry(self, seconds):
        self.context.retry = Backoff(seconds, NEVER, lambda: 1.0)

    def rename(self, source, target):
        """Rename a directory of the source, and offer the move to the replica."""
        for path in [p for p in self.source.nodes if p == source or is_below(p, source)]:
            self.source.nodes[rebase(path, source, target)] = self.source.nodes.pop(path)
        self.catalog.move(source, target)
        self.replica.offer(encode_update(move_change(1, source, target)))

    @property
    def now(self):
        """Return the current connection."""
        return self.agent("a")

    @property
    def disk(self):
        return self.disks["a"]

    def listings(self):
        return len(self.now.of(ListTree))
