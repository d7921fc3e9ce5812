"""A connection whose peer does not answer is aborted, also by a task that is being cancelled."""

import asyncio

import pytest

from replicator.transport import ssh
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
def impatient(monkeypatch):
    monkeypatch.setattr(ssh, "CLOSE_TIMEOUT", 0.01)


async def test_a_silent_connection_is_aborted():
    connection = Deaf()
    await ssh._hang_up(connection)
    assert connection.aborted


async def test_a_silent_connection_is_aborted_by_a_task_that_is_being_cancelled():
    connection, steps, working = Deaf(), [], asyncio.Event()

    async def work():
        try:
            working.set()
            await asyncio.Event().wait()
        finally:
            await ssh._hang_up(connection)
            steps.append("what follows the closing")

    task = asyncio.create_task(work())
    await working.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert connection.aborted
    assert steps


async def test_a_second_cancellation_does_not_leave_the_connection_open(monkeypatch):
    monkeypatch.setattr(ssh, "CLOSE_TIMEOUT", 60.0)
    connection = Deaf()
    task = asyncio.create_task(ssh._hang_up(connection))
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert connection.aborted
