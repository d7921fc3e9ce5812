"""A connection whose peer does not answer is aborted, also by a task that is being cancelled."""

import asyncio

import pytest

from replicator.transport.channel import hang_up
from tests.support.clock import virtual_time
from tests.support.waiting import turns


class Deaf:
    """A connection that closes only when it is aborted."""

    def __init__(self):
        self.aborted = False
        self._closed = asyncio.Event()

    def close(self):
        """The peer is asked, and does not answer."""

    def abort(self):
        self.aborted = True
        self._closed.set()

    async def wait_closed(self):
        await self._closed.wait()


@pytest.fixture(autouse=True)
async def clock():
    virtual_time()


async def test_a_silent_connection_is_aborted():
    connection = Deaf()
    await hang_up(connection)
    assert connection.aborted


async def test_a_silent_connection_is_aborted_by_a_task_that_is_being_cancelled():
    connection, steps, working = Deaf(), [], asyncio.Event()

    async def work():
        try:
            working.set()
            await asyncio.Event().wait()
        finally:
            await hang_up(connection)
            steps.append("what follows the closing")

    task = asyncio.create_task(work())
    await working.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert connection.aborted
    assert steps


async def test_a_second_cancellation_does_not_leave_the_connection_open():
    connection = Deaf()
    task = asyncio.create_task(hang_up(connection))
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert connection.aborted
