"""Measure the daemon with very many files: first start, restart, idle CPU time, and the delay of one change."""

from __future__ import annotations

import time
from pathlib import Path

from bench import data
from bench.case import Measured, Params
from bench.whole.systems.replicator import Replicator
from bench.whole.witnesses import PATIENCE
from bench.whole.world import World, case

IDLE = 10.0
"""Seconds over which the CPU time of the idle daemon is measured."""

CHANGE = 12_345
"""Size in bytes of the file that is added."""


def scale(world: World, _: Params) -> Measured:
    """Cold start without frontends, then one is filled, then a restart; `seconds` is the cold start."""
    system = world.system
    assert isinstance(system, Replicator)
    meter = world.meter()
    system.start(())
    cold = time.monotonic() - meter.begun / 1e9
    begun = time.monotonic()
    system.fill(world.hosts)
    filled = time.monotonic() - begun
    system.stop()
    begun = time.monotonic()
    system.start(world.hosts)
    warm = time.monotonic() - begun
    world.meter().settle()
    before = meter.cpu()
    time.sleep(IDLE)
    idle = (meter.cpu() - before) / IDLE
    world.witnesses.begin("until", f"{world.target}/000/new", CHANGE, PATIENCE)
    begun = time.monotonic()
    (world.source / "000" / "new").write_bytes(bytes(CHANGE))
    noticed = max(world.witnesses.end()) / 1e9 - begun
    return meter.measured(
        cold, fill_seconds=filled, warm_seconds=warm, idle_cpu=idle, notice_seconds=noticed
    )


def _prepare(at: Path, params: Params) -> None:
    data.write_tree(at / "source", params["files"], params["size"], folders=1000)


CASES = [
    case(
        "scale", "many files: start, restart, rest (--set files=1000000 for more)", scale, ("replicator",), _prepare,
        [{"frontends": 1, "files": 200_000, "size": 100}], {"frontends": 1, "files": 2000, "size": 100},
    ),
]  # fmt: skip
