"""The event loop: its clock, and pauses that let other tasks run during long work."""

from __future__ import annotations

import asyncio

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
