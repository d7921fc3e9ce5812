"""How long a frontend may hold its place at the gate: for as long as the work takes that it has done, and a little more.

Who is slower than the slowest disk and line that we expect gives its place to whoever waits, and goes on when its turn comes
again. Nothing is lost by that: what was listed and sent counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from replicator.engine.bootstrap_queue import Place

GRACE = 10.0
"""Seconds that a turn lasts beyond what its work should take."""

LINES, FILES, BYTES = 200, 50, 1 << 20
"""What the slowest frontend does in a second: paths listed from a cold disk, files and bytes taken over a poor line."""

TICK = 1.0
"""Seconds between two looks."""


class Work(NamedTuple):
    """What a frontend has done since its comparison began: paths listed, files and bytes that arrived."""

    lines: int
    files: int
    size: int

    def seconds(self, since: Work, most_lines: int) -> float:
        """Return how long the work since then should take at most; what is listed beyond `most_lines` counts for nothing."""
        lines = min(self.lines, most_lines) - min(since.lines, most_lines)
        files, size = self.files - since.files, self.size - since.size
        return lines / LINES + files / FILES + size / BYTES


@asynccontextmanager
async def turn(
    place: Place, work: Callable[[], Work], most_lines: int, moved: Callable[[str], None]
) -> AsyncIterator[None]:
    """Watch over a place while it is used.

    Args:
        place: held.
        work: tells what has been done.
        most_lines: paths that there are to be listed.
        moved: called with the reason when the place is given up, and with nothing when it is held again.
    """
    task = asyncio.get_running_loop().create_task(_watch(place, work, most_lines, moved))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()


async def _watch(
    place: Place, work: Callable[[], Work], most_lines: int, moved: Callable[[str], None]
) -> None:
    loop = asyncio.get_running_loop()
    while True:
        began, before = loop.time(), work()
        while True:
            await asyncio.sleep(TICK)
            done, seconds = work(), loop.time() - began
            late = seconds - done.seconds(before, most_lines) > GRACE
            if late and place.give_way():
                break
        moved(
            f"it is slow: {done.lines - before.lines} paths listed and {done.files - before.files} files taken in"
            f" {seconds:.0f} s; others go first, and it goes on when its turn comes"
        )
        await asyncio.shield(place.admitted)
        moved("")
