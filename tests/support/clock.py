"""Virtual time for tests of delays: time stands still while callbacks run, and jumps to the next timer when the loop is idle.

Such a test takes no real time, and its result does not depend on the load of the machine.
"""

import asyncio

START = 1e6
"""Seconds at which virtual time begins. A fixed start makes rounding errors the same in every run: from an arbitrary start, the sum of
two sleeps can be shorter than the delay that a test measures. It must be below 4e6, where asyncio's clock resolution (1e-9) is still
more than the spacing of floats."""


class VirtualTime:
    """Replaces the clock of an event loop. Not for loops that wait for sockets, processes or other threads.

    Time also stands still while a call runs in an executor.

    Args:
        loop: an event loop of asyncio; its clock is replaced for good.
    """

    def __init__(self, loop):
        self._now = START
        self._calls = 0
        self._select = loop._selector.select
        self._run = loop.run_in_executor
        self._end = loop.shutdown_default_executor
        loop.time = lambda: self._now
        loop._selector.select = self._wait
        loop.run_in_executor = self._in_executor
        loop.shutdown_default_executor = self._shutdown

    def _wait(self, timeout=None):
        ready = self._select(None if timeout is None or (self._calls and timeout) else 0)
        if not ready and timeout and not self._calls:
            self._now += timeout
        return ready

    def _in_executor(self, executor, call, *arguments):
        self._calls += 1
        future = self._run(executor, call, *arguments)
        future.add_done_callback(self._ended)
        return future

    async def _shutdown(self, *timeout):
        """Time stands still while the loop waits for the executor's threads: since Python 3.12 it does so with a time limit."""
        self._calls += 1
        await self._end(*timeout)

    def _ended(self, _):
        self._calls -= 1


def virtual_time():
    """Give the running event loop virtual time; see VirtualTime."""
    VirtualTime(asyncio.get_running_loop())
