"""Measure memory and open descriptors of a process, from /proc."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Held:
    """One measurement: process id, resident memory in MiB, number of open descriptors."""

    pid: int
    rss: float
    descriptors: int


def measure(pid: int) -> Held | None:
    """Measure a process; return None if it has ended."""
    with suppress(OSError):
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        mebibytes = resident * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
        return Held(pid, round(mebibytes, 1), len(os.listdir(f"/proc/{pid}/fd")))
    return None


MOST = 300.0
"""Limit in MiB for a daemon at rest: 80 after the start, two frame caches of 64 each, and what the allocator retains."""


def growth(series: list[Held]) -> list[str]:
    """Return a text for each process whose memory or descriptors grew between measurements at rest.

    Memory is compared with the second measurement, because the caches are empty at the first. Allowed growth: a third and 32 MiB
    of memory, and 16 descriptors. Caches and the allocator stay within that; a leak per event or connection does not.
    """
    found = []
    for pid in {held.pid for held in series}:
        life = [held for held in series if held.pid == pid]
        first, last = life[0], life[-1]
        warm = life[1] if len(life) > 1 else first
        if last.rss > min(MOST, warm.rss * 4 / 3 + 32):
            found.append(f"memory of process {pid} grew from {warm.rss} to {last.rss} MiB")
        if last.descriptors > first.descriptors + 16:
            found.append(
                f"descriptors of process {pid} grew from {first.descriptors} to {last.descriptors}"
            )
    return found
