"""Measure filling frontends for the first time, and again when nothing has changed."""

from __future__ import annotations

import time
from pathlib import Path

from bench import data
from bench.case import Measured, Params
from bench.whole.world import World, case


def bootstrap(world: World, _: Params) -> Measured:
    """Empty frontends: the time until they hold everything. A daemon runs already, and knows the source."""
    world.start(())
    meter = world.meter()
    world.system.fill(world.hosts)
    return meter.measured(world.complete() / 1e9 - meter.begun / 1e9)


def noop(world: World, _: Params) -> Measured:
    """A frontend that holds everything, and that a daemon knows, is looked at again."""
    world.system.hold(world.hosts)
    world.rest()
    meter = world.meter()
    world.system.fill(world.hosts)
    return meter.measured(time.monotonic() - meter.begun / 1e9)


def restart(world: World, _: Params) -> Measured:
    """Frontends hold everything, and a daemon that was stopped starts again: the time until all are known to be equal."""
    world.system.hold(world.hosts)
    world.rest()
    world.system.stop()
    meter = world.meter()
    world.system.start(world.hosts)
    return meter.measured(time.monotonic() - meter.begun / 1e9)


def _tree(at: Path, params: Params) -> None:
    data.write_tree(at / "source", params["files"], params["size"])


typical = {"files": 20_000, "size": 20_000}
small = {"files": 200, "size": 20_000}

CASES = [
    case(
        "bootstrap-1", "20,000 files of 20 KB to an empty frontend", bootstrap,
        ("replicator", "replicator-base", "replicator-cold", "rsync", "rsync-aes", "s3-sync", "unison", "syncthing"), _tree,
        [{**typical, "frontends": 1}], {**small, "frontends": 1},
    ),
    case(
        "bootstrap-10", "the same to ten at the same time", bootstrap,
        ("replicator", "replicator-base", "replicator-unlimited", "rsync", "rsync-aes", "s3-sync"), _tree,
        [{**typical, "frontends": 10}], {**small, "frontends": 10},
    ),
    case(
        "bootstrap-100", "1,000 files of 20 KB to a hundred at the same time", bootstrap,
        ("replicator", "replicator-base", "rsync"), _tree,
        [{"files": 1000, "size": 20_000, "frontends": 100}], {**small, "frontends": 3},
    ),
    case(
        "rtt-bootstrap", "to one, each byte held back for a while each way", bootstrap,
        ("replicator", "replicator-base", "rsync", "unison"), _tree,
        [{**typical, "frontends": 1, "delay_ms": delay} for delay in (1, 10)], {**small, "frontends": 1, "delay_ms": 1},
    ),
    case(
        "noop", "20,000 files that are there already", noop,
        ("replicator", "replicator-cold", "rsync", "unison"), _tree,
        [{**typical, "frontends": 1}], {**small, "frontends": 1},
    ),
    case(
        "restart", "20,000 small files that are there already; the daemon starts again", restart,
        ("replicator", "rsync"), _tree,
        [{"files": 20_000, "size": 100, "frontends": count} for count in (1, 10, 100)], {**small, "frontends": 2},
    ),
]  # fmt: skip
