"""Measure the time from a change on the backend until all frontends have it."""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bench import data
from bench.case import Measured, Params
from bench.whole.witnesses import PATIENCE
from bench.whole.world import World, case

DAEMONS = ("replicator", "lsyncd-tuned", "unison", "syncthing")
ALL = ("replicator", "rsync", "lsyncd-tuned", "unison", "syncthing")
FEW = 200
"""Files that are there before something changes."""

GAP = (0.05, 0.25)
"""Range of the random seconds between two uploads. A fixed pause could synchronize with programs that poll."""


def percentile(values: list[float], percent: int) -> float:
    """Return a percentile; of few values an interpolated one."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def uploads(directory: Path, count: int, size: int) -> Iterator[tuple[str, int]]:  # fmt: skip
    """Write files as a web server does, one after the other; yield each one's name, and when it was closed."""
    made = random.Random(data.SEED + 5)
    for number in range(count):
        content = made.randbytes(size)
        path = directory / f"upload-{number:05}.jpg"
        with path.open("wb") as file:
            file.write(content)
        yield path.name, time.monotonic_ns()
        time.sleep(made.uniform(*GAP))


def delays(closed: dict[str, int], seen: list[dict[str, int]]) -> list[float]:
    """Return for each upload the seconds until the last frontend had it."""
    return [max(of_one[name] for of_one in seen) / 1e9 - at / 1e9 for name, at in closed.items()]


def latency(world: World, params: Params) -> Measured:
    """Uploads, one by one: the median time from close() to the last frontend."""
    world.start()
    count, size = params["uploads"], params["size"]
    world.witnesses.ask("record", world.target, size, PATIENCE)
    meter = world.meter()
    closed = dict(uploads(world.source, count, size))
    took = delays(closed, world.witnesses.ask("seen", count, PATIENCE))
    return meter.measured(
        statistics.median(took), p99_seconds=percentile(took, 99), max_seconds=max(took)
    )


def burst(world: World, params: Params) -> Measured:
    """Many uploads at once: the time until the last is everywhere."""
    (world.source / "burst").mkdir()
    (world.source / "burst" / "first.jpg").write_bytes(b"first")
    world.start()
    count, size = params["files"], params["size"]
    world.witnesses.ask("record", f"{world.target}/burst", size, PATIENCE)
    meter = world.meter()
    content = data.noise(size)
    for number in range(count):
        (world.source / "burst" / f"photo-{number}.jpg").write_bytes(
            number.to_bytes(8, "big") + content[8:]
        )
    world.system.nudge()
    seen = world.witnesses.ask("seen", count, PATIENCE)
    return meter.measured(max(max(one.values()) for one in seen) / 1e9 - meter.begun / 1e9)


def big_edit(world: World, params: Params) -> Measured:
    """Small edits in a large file, and a few bytes more at its end: the time until the new version is everywhere."""
    world.start()
    size, made = params["size"], random.Random(data.SEED + 6)
    path = world.source / "big"
    world.witnesses.begin("until", f"{world.target}/big", size + 16, PATIENCE)
    meter = world.meter()
    _edit(path, made, size, 64)
    world.system.nudge()
    return meter.measured(max(world.witnesses.end()) / 1e9 - meter.begun / 1e9)


def away(world: World, params: Params) -> Measured:
    """Small edits in a large file while the second of two frontends is away: the time until it has the new version, once it is back."""
    world.start()
    size, there = params["size"], f"{world.target}/big"
    world.system.grow(world.hosts[:1])
    _edit(world.source / "big", random.Random(data.SEED + 7), size, params["edits"])
    world.system.nudge()
    world.witnesses.ask("until", there, size + 16, PATIENCE, among=1)
    world.meter().settle()
    world.witnesses.begin("until", there, size + 16, PATIENCE)
    meter = world.meter()
    world.system.grow(world.hosts)
    world.system.nudge()
    return meter.measured(max(world.witnesses.end()) / 1e9 - meter.begun / 1e9)


def _edit(path: Path, made: random.Random, size: int, edits: int) -> None:
    with path.open("r+b") as file:
        for _ in range(edits):
            file.seek(made.randrange(size - 32))
            file.write(made.randbytes(32))
        file.seek(size)
        file.write(made.randbytes(16))


def flat_dir(world: World, params: Params) -> Measured:
    """Uploads into a directory with many files, and as many into an empty one."""
    world.start()
    meter = world.meter()
    count, size, medians = params["uploads"], params["size"], {}
    for directory in ("full", "empty"):
        world.witnesses.ask("record", f"{world.target}/{directory}", size, PATIENCE)
        closed = dict(uploads(world.source / directory, count, size))
        medians[directory] = statistics.median(
            delays(closed, world.witnesses.ask("seen", count, PATIENCE))
        )
    return meter.measured(medians["full"], empty_seconds=medians["empty"])


BULK = {"chmod": "chmod -R o-r bulk stays", "delete": "rm -rf bulk"}
"""What changes beside the uploads, as a shell command in the source."""


def beside(world: World, params: Params) -> Measured:
    """Uploads while much changes at once: the median time from close() to the last frontend."""
    world.start()
    count, size = params["uploads"], params["size"]
    world.witnesses.ask("record", f"{world.target}/uploads", size, PATIENCE)
    meter = world.meter()
    with subprocess.Popen(BULK[params["what"]], shell=True, cwd=world.source):  # noqa: S602  # one of the above
        closed = dict(uploads(world.source / "uploads", count, size))
    took = delays(closed, world.witnesses.ask("seen", count, PATIENCE))
    measured = meter.measured(statistics.median(took), max_seconds=max(took))
    world.rest()
    return measured


def rename_dir(world: World, params: Params) -> Measured:
    """A directory is renamed: the time until all its files are under the new name."""
    world.start()
    count, size = params["files"], params["size"]
    world.witnesses.ask("record", f"{world.target}/after", size, PATIENCE)
    meter = world.meter()
    os.rename(world.source / "before", world.source / "after")
    world.system.nudge()
    seen = world.witnesses.ask("seen", count, PATIENCE)
    measured = meter.measured(max(max(one.values()) for one in seen) / 1e9 - meter.begun / 1e9)
    world.meter().settle()  # programs that copy instead of renaming have to delete the old files afterwards
    return measured


def rewrite_storm(world: World, params: Params) -> Measured:
    """One file is written again and again: the time from the last close() to the last version being everywhere."""
    (world.source / "storm").write_bytes(b"calm")
    world.start()
    size, content = params["size"], data.noise(params["size"])
    world.witnesses.begin("until", f"{world.target}/storm", size + 1, PATIENCE)
    meter = world.meter()
    for number in range(params["writes"]):
        (world.source / "storm").write_bytes(number.to_bytes(4, "big") + content[4:])
        time.sleep(0.001)
    (world.source / "storm").write_bytes(content + b"!")
    last = time.monotonic_ns()
    world.system.nudge()
    seconds = max(world.witnesses.end()) / 1e9 - last / 1e9
    return meter.measured(seconds, storm_seconds=last / 1e9 - meter.begun / 1e9)


def _few(at: Path, _: Params) -> None:
    data.write_tree(at / "source", FEW, 2000, folders=10)


def _big(at: Path, params: Params) -> None:
    (at / "source").mkdir()
    with (at / "source" / "big").open("wb") as file:
        for number in range(0, params["size"], data.PIECE):
            file.write(data.noise(data.PIECE, data.SEED + number))


def _flat(at: Path, params: Params) -> None:
    for name, count in (("full", params["files"]), ("empty", 1)):
        (at / "source" / name).mkdir(parents=True)
        for number in range(count):
            (at / "source" / name / f"old-{number}").write_bytes(b"%d" % number)


def _bulk(at: Path, params: Params) -> None:
    (at / "source" / "uploads").mkdir(parents=True)
    (at / "source" / "uploads" / "first").write_bytes(b"first")
    for number in range(params["files"]):  # half of them stay: more deletions would be held back
        directory = at / "source" / ("stays", "bulk")[number % 2] / f"{number // 200}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{number}").write_bytes(b"%d" % number)


def _before(at: Path, params: Params) -> None:
    (at / "source").mkdir()
    data.write_tree(at / "source" / "before", params["files"], params["size"], folders=1)
    for path in (at / "source" / "before" / "000").iterdir():
        path.rename(at / "source" / "before" / path.name)
    (at / "source" / "before" / "000").rmdir()


three = {"frontends": 3}
mild = {**three, "uploads": 100, "size": 200_000}

CASES = [
    case(
        "latency", "200 KB uploads, close() to the last of 3 frontends", latency,
        ("replicator", "replicator-observed", "lsyncd", "lsyncd-tuned", "unison", "unison-spin", "syncthing"), _few,
        [mild], {**mild, "uploads": 5},
    ),
    case(
        "rtt-latency", "the same, each byte held back for a while each way", latency,
        ("replicator", "lsyncd-tuned", "unison"), _few,
        [{**mild, "uploads": 40, "delay_ms": delay} for delay in (1, 10)], {**mild, "uploads": 3, "delay_ms": 1},
    ),
    case(
        "burst", "5,000 uploads of 10 KB at once, to 3", burst, ("replicator-observed", *ALL), _few,
        [{**three, "files": 5000, "size": 10_000}], {**three, "files": 50, "size": 10_000},
    ),
    case(
        "big-edit", "64 edits of 32 bytes in 1 GiB, to 3", big_edit, ALL, _big,
        [{**three, "size": 1 << 30, "bulky": True}], {**three, "size": 4 << 20, "bulky": True},
    ),
    case(
        "away", "200 edits of 32 bytes in 1 GiB, made while one of two frontends was away", away,
        ("replicator", "rsync", "lsyncd-tuned"), _big,
        [{"frontends": 2, "size": 1 << 30, "edits": 200, "bulky": True}],
        {"frontends": 2, "size": 4 << 20, "edits": 5, "bulky": True},
    ),
    case(
        "flat-dir", "an upload beside 50,000 files, and beside one", flat_dir, ("replicator", "lsyncd-tuned"), _flat,
        [{**three, "files": 50_000, "uploads": 20, "size": 20_000}], {**three, "files": 100, "uploads": 3, "size": 20_000},
    ),
    *(
        case(
            f"beside-{what}", f"an upload beside {BULK[what]}, to 2", beside, ("replicator", "lsyncd-tuned"), _bulk,
            [{"frontends": 2, "files": 200_000, "uploads": 20, "size": 20_000, "what": what}],
            {"frontends": 2, "files": 400, "uploads": 3, "size": 20_000, "what": what},
        )
        for what in BULK
    ),
    case(
        "rename-dir", "a directory of 10,000 files gets another name", rename_dir, ALL, _before,
        [{**three, "files": 10_000, "size": 5000}], {**three, "files": 50, "size": 5000},
    ),
    case(
        "rewrite-storm", "a file of 50 KB written 1,000 times", rewrite_storm, DAEMONS, _few,
        [{**three, "writes": 1000, "size": 50_000}], {**three, "writes": 20, "size": 50_000},
    ),
]  # fmt: skip
