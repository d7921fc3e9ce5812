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


def growth(series: list[Held]) -> list[str]:
    """Return complaints on memory or descriptors that grow within the life of one process; looks were taken at rest.

    A later look may hold a third and 32 MiB more than the first, and 16 descriptors: what is cached or held back by the
    allocator comes and goes, a leak of one per event or connection does not.
    """
    found = []
    for pid in {look.pid for look in series}:
        first, *_, last = [look for look in series if look.pid == pid] * 2
        if last.rss > first.rss * 4 / 3 + 32:
            found.append(f"memory of process {pid} grew from {first.rss} to {last.rss} MiB")
        if last.descriptors > first.descriptors + 16:
            found.append(
                f"descriptors of process {pid} grew from {first.descriptors} to {last.descriptors}"
            )
    return found
