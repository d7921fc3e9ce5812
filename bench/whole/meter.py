"""What a contestant's processes cost on this machine."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import time
from pathlib import Path

from bench.case import Measured

TICKS = os.sysconf("SC_CLK_TCK")
PR_SET_CHILD_SUBREAPER = 36

IDLE = 0.1
"""Of a core: what is below has calmed down. Unison polls, and takes a few hundredths."""


def adopt_orphans() -> None:
    """Let what a contestant sends into the background (an ssh ControlMaster) stay among our descendants."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_orphans(spared: set[int]) -> None:
    """End what a contestant has left in the background."""
    for pid in descendants(spared):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def descendants(without: set[int]) -> list[int]:
    """Return the processes below this one, leaving out some with all that is below them."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [os.getpid()]
    for pid in found:
        found += [child for child in children.get(pid, []) if child not in without]
    return found[1:]


class Meter:
    """Measures from its making on.

    Args:
        interface: whose sent bytes count.
        others: those of our children that are not the contestant's.
    """

    def __init__(self, interface: str, others: set[int]) -> None:
        self._others = others
        self._interface = interface
        self._cpu = self.cpu()
        self._sent = _sent(interface)
        self._begun = time.monotonic_ns()

    @property
    def begun(self) -> int:
        """When it began, in nanoseconds of the monotonic clock."""
        return self._begun

    def measured(self, seconds: float, **figures: float) -> Measured:
        """Return what it cost until now."""
        sizes = [_peak(pid) for pid in descendants(self._others)]
        wire = _sent(self._interface) - self._sent
        return Measured(seconds, self.cpu() - self._cpu, max(sizes, default=None), wire, figures)

    def cpu(self) -> float:
        """Return the seconds that the contestant's processes have used, those that have ended included."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime + sum(map(_used, descendants(self._others)))

    def settle(self, timeout: float = 30.0) -> None:
        """Wait until they do next to nothing for a second, or for as long as one may wait."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            before = self.cpu()
            time.sleep(1.0)
            if self.cpu() - before < IDLE:
                return


def _stat(pid: int) -> list[str]:
    """Return the fields after the name; none if it has gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(") ")[2].split()
    return []


def _used(pid: int) -> float:
    """Seconds of a process and of its children that it waited for."""
    fields = _stat(pid)
    return sum(map(int, fields[11:15])) / TICKS if fields else 0.0


def _peak(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def _sent(interface: str) -> int:
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, counts = line.partition(":")
        if name.strip() == interface:
            return int(counts.split()[8])
    raise LookupError(f"no interface {interface}")
