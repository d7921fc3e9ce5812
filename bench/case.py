"""Types of benchmark cases and measurements."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Params = Mapping[str, Any]


@dataclass
class Measured:
    """Result of one run of one contestant.

    Attributes:
        seconds: the case's main figure; ratios between contestants compare it.
        cpu_seconds: CPU time of the contestant's processes on this machine, including children.
        peak_rss_bytes: peak memory of the largest process. None for processes that end within the measurement, because the
            kernel includes the memory of the process that forked them.
        wire_bytes: bytes that are sent, if known.
        figures: further figures of the case; times in seconds, sizes in bytes.
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
    """One task, and the programs that can do it.

    Attributes:
        name: name on the command line and in reports.
        about: description, one line.
        contestants: by name, the function that does the task in a directory with parameters.
        prepare: creates the data in a directory; seeded, so that all contestants get the same.
        check: raises AssertionError if a contestant's result is wrong.
        variants: sets of parameters, run one after the other. `frontends` is the number of frontends; `bulky` means few large
            files, which are deleted at once.
        tiny: parameters for a run that only shows that the case works.
        load: imports and other preparation that is not measured.
        clear: removes what the measurements left on the frontends.
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


_LOADED = ("replicator", "numpy")


def timed(work: Work) -> Act:
    """Wrap a function, which works in this process or in children that it waits for, so that it is measured.

    The function returns the number of bytes that would be sent, or None.

    Raises:
        AssertionError: by what is returned, if the function imports a module of replicator, or NumPy: that takes 10 to 60 ms, as long as
            many a case. `Case.load` must import it.
    """

    def act(place: Path, params: Params) -> Measured:
        loaded = set(sys.modules)
        cpu, begun = _cpu(), time.perf_counter()
        wire = work(place, params)
        seconds = time.perf_counter() - begun
        late = [name for name in sys.modules.keys() - loaded if name.partition(".")[0] in _LOADED]
        assert not late, f"imported while it was measured: {', '.join(sorted(late))}"
        children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return Measured(seconds, _cpu() - cpu, None if children else own * 1024, wire)

    return act


def _cpu() -> float:
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
