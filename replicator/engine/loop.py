"""The event loop: its clock, and what keeps long work from delaying other tasks: pauses and turns."""

from __future__ import annotations

import asyncio
from collections import deque

LONGEST = 0.003
"""Seconds for which a task may run without a pause: three such tasks in a row stay below 10 ms."""


def loop_time() -> float:
    """Return the time of the running loop in seconds: a monotonic clock."""
    return asyncio.get_running_loop().time()


class Pauses:
    """Pauses of one task."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ends = self._loop.time() + LONGEST

    async def pause(self) -> None:
        """Let other tasks run if this one has run for LONGEST seconds since its last pause."""
        if self._loop.time() >= self._ends:
            await asyncio.sleep(0)
            self._ends = self._loop.time() + LONGEST


class Turns:
    """Lets at most one task work in each iteration of the event loop, in the order in which they asked.

    Without this, each of ten connections would write a frame in every iteration, which takes 10 ms, and a live change would wait for
    several iterations.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._taken = False

    async def take(self) -> None:
        """Wait until it is the task's turn; the next one has its turn in a later iteration."""
        loop = asyncio.get_running_loop()
        if self._taken:
            turn = loop.create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if not turn.cancelled():  # it had got its turn already
                    self._pass_on()
                raise
        self._taken = True
        loop.call_soon(self._pass_on)

    def _pass_on(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._taken = False
