"""The fleet grows while uploads go on."""

from __future__ import annotations

import statistics
import threading
import time
from pathlib import Path
from typing import Self

from bench import data
from bench.case import Measured, Params
from bench.whole.changes import delays, percentile, uploads
from bench.whole.witnesses import PATIENCE
from bench.whole.world import World, case

OLD = 3
"""Frontends that visitors see before the others join."""

PLENTY = 100_000
"""More uploads than are ever made: the writer is told when to end."""

UPLOAD = 200_000
"""Bytes."""


class Uploader(threading.Thread):
    """Uploads, six or seven a second, while the context lasts.

    Attributes:
        closed: by name, when it was closed.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(daemon=True)
        self.closed: dict[str, int] = {}
        self._directory = directory
        self._enough = threading.Event()

    def run(self) -> None:
        """Write until told to stop."""
        for name, at in uploads(self._directory, PLENTY, UPLOAD):
            self.closed[name] = at
            if self._enough.is_set():
                return

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self.join()


def scale_out(world: World, params: Params) -> Measured:
    """Ten join three: the time until they are filled, and what uploads to the three took before and meanwhile."""
    world.start(world.hosts[:OLD])
    figures: dict[str, float] = {}
    _record(world, "before")
    with Uploader(world.source / "before") as uploader:
        time.sleep(params["quiet_seconds"])
    figures |= _delays(world, uploader, "before")
    _record(world, "during")
    meter = world.meter()
    with Uploader(world.source / "during") as uploader:
        world.system.grow(world.hosts)
        tree = f"{world.target}/tree"
        filled = world.witnesses.ask("tree", tree, params["files"], PATIENCE)
    figures |= _delays(world, uploader, "during")
    measured = meter.measured(max(filled) / 1e9 - meter.begun / 1e9, **figures)
    world.complete()
    return measured


def _record(world: World, directory: str) -> None:
    world.witnesses.ask("record", f"{world.target}/{directory}", UPLOAD, PATIENCE, among=OLD)


def _delays(world: World, uploader: Uploader, when: str) -> dict[str, float]:
    seen = world.witnesses.ask("seen", len(uploader.closed), PATIENCE, among=OLD)
    took = delays(uploader.closed, seen)
    return {
        f"{when}_p50_seconds": statistics.median(took),
        f"{when}_p99_seconds": percentile(took, 99),
    }


def _prepare(at: Path, params: Params) -> None:
    data.write_tree(at / "source" / "tree", params["files"], params["size"])
    for name in ("before", "during"):
        (at / "source" / name).mkdir()
        (at / "source" / name / "first").write_bytes(b"first")


full = {"frontends": 13, "files": 20_000, "size": 20_000, "quiet_seconds": 15}

CASES = [
    case(
        "scale-out", "10 frontends join 3: 20,000 files of 20 KB, uploads going on", scale_out,
        ("replicator", "replicator-base", "replicator-unlimited", "lsyncd-tuned"), _prepare,
        [full], {**full, "files": 200, "quiet_seconds": 2},
    ),
]  # fmt: skip
