"""Progress of a comparison of whole trees, and the rule for frontends that make too little of it.

A frontend that is slower than the slowest disk and network that are expected gives its place in the bootstrap queue to the next one
that waits, and continues when its turn comes again. Nothing is lost: what was listed and sent is not repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from replicator.core.pending import Key
from replicator.engine.bootstrap_queue import Place

GRACE = 10.0
"""Seconds that a frontend may hold its place beyond the time that its work should take."""

LINES, FILES, BYTES = 200, 50, 1 << 20
"""Work of the slowest frontend per second: paths listed from a cold disk, files and bytes received over a poor network."""

TICK = 1.0
"""Seconds between two checks."""


@dataclass
class Progress:
    """Progress of a comparison and of the transfers that follow; sizes in bytes, times in seconds of the loop's clock."""

    files_total: int = 0
    files_done: int = 0
    bytes_total: int = 0
    bytes_done: int = 0
    started: float = 0.0
    ended: float | None = None
    sizes: dict[Key, int] = field(default_factory=dict)

    def expect(self, key: Key, size: int) -> None:
        """Count a path that has to be sent."""
        self.sizes[key] = size
        self.files_total += 1
        self.bytes_total += size

    def arrived(self, key: Key) -> None:
        """Count a path that was sent."""
        size = self.sizes.pop(key, None)
        if size is not None:
            self.files_done += 1
            self.bytes_done += size


class WorkDone(NamedTuple):
    """What a frontend has done so far: paths listed, files and bytes received."""

    lines: int
    files: int
    size: int

    def seconds(self, since: WorkDone, most_lines: int) -> float:
        """Return how long the work since then should take at most; paths listed beyond `most_lines` do not count."""
        lines = min(self.lines, most_lines) - min(since.lines, most_lines)
        files, size = self.files - since.files, self.size - since.size
        return lines / LINES + files / FILES + size / BYTES


@asynccontextmanager
async def giving_way_when_slow(
    place: Place, work: Callable[[], WorkDone], most_lines: int, moved: Callable[[str], None]
) -> AsyncIterator[None]:
    """Give up a place in the bootstrap queue, and wait for it again, whenever its owner is slow and others wait.

    Args:
        place: held.
        work: returns the work so far.
        most_lines: number of paths to be listed.
        moved: called with the reason when the place is given up, and with an empty string when it is held again.
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
    place: Place, work: Callable[[], WorkDone], most_lines: int, moved: Callable[[str], None]
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
