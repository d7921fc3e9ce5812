"""What a case is, and what a measurement says."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Params = Mapping[str, Any]


@dataclass
class Measured:
    """What one run of one contestant cost.

    Attributes:
        seconds: what the case is about; the ratio to a peer is one of these.
        cpu_seconds: of the contestant's processes on this machine, its children included.
        peak_rss_bytes: of the largest of them; None for those that end within the measurement, because the kernel
            counts what the process that started them has used as theirs.
        wire_bytes: what travels, if the case can tell.
        figures: whatever else the case is about; times in seconds, sizes in bytes.
    """

    seconds: float
    cpu_seconds: float
    peak_rss_bytes: int | None
    wire_bytes: int | None = None
    figures: dict[str, float] = field(default_factory=dict)


Act = Callable[[Path, Params], Measured]
Work = Callable[[Path, Params], int | None]


@dataclass(frozen=True)
class Case:
    """One thing to do, and who can do it.

    Attributes:
        name: what it is called on the command line and in reports.
        about: one line.
        contestants: by name, what each does in a directory with parameters.
        prepare: makes the data in a directory; seeded, and the same for all contestants.
        check: raises AssertionError if what a contestant left is wrong.
        variants: the parameters that it is run with, one after the other. `frontends` in them says how many it needs, `bulky`
            that its files are few and large, and may go at once.
        tiny: parameters with which it only shows that it works.
        load: imports and the like, before the clock starts.
        clear: removes what all measurements of the case have left elsewhere.
    """

    name: str
    about: str
    contestants: Mapping[str, Act]
    prepare: Callable[[Path, Params], None]
    check: Callable[[str, Path, Params], None]
    variants: tuple[Params, ...]
    tiny: Params
    load: Callable[[], None] = field(default=lambda: None)
    clear: Callable[[Params], None] = field(default=lambda _: None)


def timed(work: Work) -> Act:
    """Return the act of doing work in this process or in children that it waits for; it returns the bytes that would travel."""

    def act(place: Path, params: Params) -> Measured:
        cpu, begun = _cpu(), time.perf_counter()
        wire = work(place, params)
        seconds = time.perf_counter() - begun
        children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return Measured(seconds, _cpu() - cpu, None if children else own * 1024, wire)

    return act


def _cpu() -> float:
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
