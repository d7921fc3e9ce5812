"""A clock for tests of waiting: it stands while there is work to do, and jumps to what is due next when there is none.

A test that measures time so takes none, and a machine that is busy with something else changes nothing in it.
"""

import asyncio


class VirtualTime:
    """The time of an event loop. Not for loops that wait for sockets, processes or threads of their own.

    While a call runs in an executor, time stands.

    Args:
        loop: one of asyncio's own; it keeps this time until it is closed.
    """

    def __init__(self, loop):
        self._now = loop.time()
        self._calls = 0
        self._select = loop._selector.select
        self._run = loop.run_in_executor
        loop.time = lambda: self._now
        loop._selector.select = self._wait
        loop.run_in_executor = self._in_executor

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

    def _ended(self, _):
        self._calls -= 1


def virtual_time():
    """Have the running loop's time stand while there is work to do; see VirtualTime."""
    VirtualTime(asyncio.get_running_loop())
