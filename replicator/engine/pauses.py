"""Let other tasks run during long work on the event loop."""

from __future__ import annotations

import asyncio

LONGEST = 0.003
"""Seconds for which a task may run without a pause: three such tasks in a row stay below 10 ms."""


class Pauses:
    """Pauses of one task.

    Args:
        loop: the running loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ends = loop.time() + LONGEST

    async def pause(self) -> None:
        """Let other tasks run if this one has run for LONGEST seconds since its last pause."""
        if self._loop.time() >= self._ends:
            await asyncio.sleep(0)
            self._ends = self._loop.time() + LONGEST
