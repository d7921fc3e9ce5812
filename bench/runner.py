"""Runs cases: each contestant of each round in a process of its own, interleaved, and one JSON line for each.

Every round has fresh directories, nothing is deleted until the end, and `sync` comes before each measurement: on ext4, creating
files is up to ten times slower for seconds after many inodes were deleted, and data just written is still being flushed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench import machine, peers
from bench.case import Case, measuring

Say = Callable[[str], None]

QUIET = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
"""NumPy's linear algebra, which nobody uses, would start threads that spin for a while."""


def run(
    cases: Sequence[Case], *, contestants: Sequence[str], size: int, rounds: int, say: Say
) -> Iterator[dict[str, Any]]:
    """Yield a row for each measurement; who is missing is said, and left out."""
    described = machine.describe()
    absent = {n for case in cases for n in case.contestants if peers.missing(n)}
    for name in sorted(absent):
        say(f"skipped: {name}: {peers.missing(name)}")
    directory = Path(tempfile.mkdtemp(prefix="replicator-bench-"))
    try:
        for case in cases:
            names = [n for n in case.contestants if n not in absent and (not contestants or n in contestants)]  # fmt: skip
            for number in range(rounds):
                for name in names:
                    place = directory / f"{case.name}-{number}-{name}"
                    row = measure(case, name, place, {"size": size})
                    if "error" in row:
                        say(f"FAILED: {case.name}: {name}: {row['error']}")
                        continue
                    yield {
                        "case": case.name,
                        "contestant": name,
                        "params": {"size": size},
                        "round": number,
                        **row,
                        "machine": described,
                    }
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def measure(case: Case, contestant: str, place: Path, params: dict[str, Any]) -> dict[str, Any]:
    """Prepare, measure and check in processes of their own; return the row's figures, or an error."""
    place.mkdir()
    row: dict[str, Any] = {}
    for step in ("prepare", "measure", "check"):
        command = [sys.executable, "-m", "bench", "step", step, case.name, contestant, str(place), json.dumps(params)]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=QUIET)
        if done.returncode:
            return {"error": f"{step}: {(done.stderr.strip().splitlines() or ['no word'])[-1]}"}
        if step == "prepare":
            os.sync()
        if step == "measure":
            row = json.loads(done.stdout)
    return row


def step(case: Case, what: str, contestant: str, place: Path, params: dict[str, Any]) -> None:
    """Do one step of a measurement in this process."""
    if what == "prepare":
        case.prepare(place, params)
    elif what == "check":
        case.check(contestant, place, params)
    else:
        case.load()
        with measuring() as found:
            wire = case.contestants[contestant](place, params)
        print(json.dumps({**found.__dict__, "wire_bytes": wire}))
