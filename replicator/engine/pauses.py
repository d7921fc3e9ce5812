"""A turn of the event loop: nothing that runs on the loop keeps it for long."""

from __future__ import annotations

import asyncio

LONGEST = 0.003
"""Seconds that one piece of work keeps the loop: three of them one after the other are still below 10 ms."""


class Pauses:
    """One piece of work on the loop.

    Args:
        loop: the running loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ends = loop.time() + LONGEST

    async def pause(self) -> None:
        """Let others run if the turn has lasted long enough."""
        if self._loop.time() >= self._ends:
            await asyncio.sleep(0)
            self._ends = self._loop.time() + LONGEST
