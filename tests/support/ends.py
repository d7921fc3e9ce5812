"""A connection whose other end, the agent, is controlled by the test."""

import asyncio
from contextlib import asynccontextmanager

from replicator.engine.changes.encode import encode_update, ref_to
from replicator.engine.frontend.connection import Connection
from replicator.engine.frontend.in_flight import InFlight
from tests.support.fakes.channel import FakeChannel


class Ends:
    """A connection, its channel, and all answers that it reported."""

    def __init__(self):
        self.channel = FakeChannel()
        self.answers = []
        self.rooms = 0
        self.connection = Connection(
            self.channel, lambda *answer: self.answers.append(answer), self._room
        )

    def _room(self):
        self.rooms += 1

    async def send(self, change):
        made = encode_update(change)
        in_flight = InFlight(ref_to(change), 1, bulk=True)
        await self.connection.send(made.frames, [in_flight])
        return in_flight


@asynccontextmanager
async def receiving(ends):
    task = asyncio.get_running_loop().create_task(ends.connection.receive())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
