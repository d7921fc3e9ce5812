"""What a case is, and what a measurement says."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Params = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """One thing to do, and who can do it.

    Attributes:
        name: what it is called on the command line and in reports.
        about: one line.
        contestants: by name, what each does; called with (directory, params), returns the bytes that would travel, or None.
        prepare: makes the data in a directory; seeded, and the same for all contestants.
        check: raises AssertionError if what a contestant left in the directory is wrong.
        load: imports and the like, before the clock starts.
    """

    name: str
    about: str
    contestants: Mapping[str, Callable[[Path, Params], int | None]]
    prepare: Callable[[Path, Params], None]
    check: Callable[[str, Path, Params], None]
    load: Callable[[], None] = field(default=lambda: None)


@dataclass
class Measured:
    """What one run of one contestant cost: its own process and its children together."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_rss_bytes: int = 0


@contextmanager
def measuring() -> Iterator[Measured]:
    """Measure what happens inside."""
    found = Measured()
    cpu, begun = _cpu(), time.perf_counter()
    yield found
    found.seconds = time.perf_counter() - begun
    found.cpu_seconds = _cpu() - cpu
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    # A peer is a child and does all the work; then our own size is that of the one who waits.
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found.peak_rss_bytes = (children or own) * 1024


def _cpu() -> float:
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
