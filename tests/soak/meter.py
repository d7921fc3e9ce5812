"""What a process holds: its memory and its descriptors, from /proc."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Held:
    """One look: the process, its resident memory in MiB, and how many descriptors are open."""

    pid: int
    rss: float
    descriptors: int


def look(pid: int) -> Held | None:
    """Return what a process holds; nothing if it has ended."""
    with suppress(OSError):
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        mebibytes = resident * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
        return Held(pid, round(mebibytes, 1), len(os.listdir(f"/proc/{pid}/fd")))
    return None


MOST = 300.0
"""MiB that a daemon may ever hold at rest: 80 when it has started, two caches of frames of 64, and what the allocator keeps."""


def growth(series: list[Held]) -> list[str]:
    """Return complaints on memory or descriptors that grow within the life of one process; looks were taken at rest.

    The first look of a life is at empty caches, so that memory is compared from the second on: a later look may hold a third and
    32 MiB more, and 16 descriptors. What is cached or held back by the allocator comes and goes, a leak of one per event or
    connection does not.
    """
    found = []
    for pid in {look.pid for look in series}:
        life = [look for look in series if look.pid == pid]
        first, last = life[0], life[-1]
        warm = life[1] if len(life) > 1 else first
        if last.rss > min(MOST, warm.rss * 4 / 3 + 32):
            found.append(f"memory of process {pid} grew from {warm.rss} to {last.rss} MiB")
        if last.descriptors > first.descriptors + 16:
            found.append(
                f"descriptors of process {pid} grew from {first.descriptors} to {last.descriptors}"
            )
    return found
