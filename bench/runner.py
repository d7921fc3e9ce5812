"""Runs cases: each contestant of each round in a process of its own, interleaved, and one JSON line for each.

Every measurement has fresh directories, nothing is deleted until a case's last one, and `sync` comes before each: on ext4, creating
files is up to ten times slower for seconds after many inodes were deleted, and data just written is still being flushed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import machine, peers
from bench.case import Case, Params
from bench.stage import Stage

Say = Callable[[str], None]

OURS = "replicator"

PATIENCE = 1800
"""Seconds for one step; the longest case takes a tenth of it."""

QUIET = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
"""NumPy's linear algebra, which nobody uses, would start threads that spin for a while."""


@dataclass(frozen=True)
class Plan:
    """What is to be run.

    Attributes:
        cases: with the parameters for each.
        contestants: only these; none: all.
        rounds: how often.
        stage: where the frontends are, for the cases that need some.
    """

    cases: Sequence[tuple[Case, Params]]
    contestants: Sequence[str]
    rounds: int
    stage: Stage | None = None


def run(plan: Plan, say: Say) -> Iterator[dict[str, Any]]:
    """Yield a row for each measurement; who is missing is said, and left out."""
    described = machine.describe()
    absent = {n for case, _ in plan.cases for n in case.contestants if peers.missing(n)}
    for name in sorted(absent):
        say(f"skipped: {name}: {peers.missing(name)}")
    directory = Path(tempfile.mkdtemp(prefix="replicator-bench-"))
    try:
        for case, params in plan.cases:
            chosen = [n for n in case.contestants if n not in absent and n in (plan.contestants or case.contestants)]  # fmt: skip
            for number in range(plan.rounds):
                for row in _round(plan, case, chosen, params, number, directory, say):
                    yield {**row, "machine": described}
            _step("clear", case.name, "", "", json.dumps(_given(plan, params)))
            for place in directory.iterdir():
                shutil.rmtree(place, ignore_errors=True)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _round(
    plan: Plan,
    case: Case,
    names: Sequence[str],
    params: Params,
    number: int,
    directory: Path,
    say: Say,
) -> Iterator[dict[str, Any]]:
    """Yield the rows of one round, in which each has another place than in the one before."""
    rows = []
    first = number % max(1, len(names))
    for name in (*names[first:], *names[:first]):
        say(f"{case.name} {_short(params)}: round {number + 1}: {name}")
        place = Path(tempfile.mkdtemp(prefix=f"{case.name}-{number}-{name}-", dir=directory))
        figures = measure(case, name, place, _given(plan, params))
        if params.get(
            "bulky"
        ):  # so few files that removing them slows nothing down; and the disk is not endless
            shutil.rmtree(place, ignore_errors=True)
        if "error" in figures:
            say(f"FAILED: {case.name}: {name}: {figures['error']}")
            continue
        at = {"on": plan.stage.name} if "frontends" in params and plan.stage else {}
        about = {"case": case.name, "contestant": name, "params": {**params, **at}, "round": number}
        rows.append({**about, **figures})
    ours = next((row["seconds"] for row in rows if row["contestant"] == OURS), None)
    for row in rows:
        yield {**row, "ratio_of": row["seconds"] / ours if ours else None}


def _given(plan: Plan, params: Params) -> Params:
    """Return what a step is given: the parameters, and where the frontends are."""
    return (
        {**params, "stage": plan.stage.dump()} if "frontends" in params and plan.stage else params
    )


def _short(params: Params) -> str:
    return " ".join(f"{name}={value}" for name, value in params.items() if name != "bulky")


def measure(case: Case, contestant: str, place: Path, params: Params) -> dict[str, Any]:
    """Prepare, measure and check in processes of their own; return the row's figures, or an error."""
    row: dict[str, Any] = {}
    for what in ("prepare", "measure", "check"):
        code, out, error = _step(what, case.name, contestant, str(place), json.dumps(params))
        if code:
            return {
                "error": f"{what}: {(error.strip().splitlines() or [f'it ended with {code}'])[-1]}"
            }
        if what == "prepare":
            os.sync()
        if what == "measure":
            row = json.loads(out)
    return row


def _step(*arguments: str) -> tuple[int, str, str]:
    """Run one step in a session of its own, and leave nothing of it behind."""
    command = [sys.executable, "-m", "bench", "step", *arguments]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=QUIET,
        start_new_session=True,
    ) as process:
        try:
            out, error = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM)
            return 1, "", f"not done after {PATIENCE} s"
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            raise
    return process.returncode, out, error


def step(case: Case, what: str, contestant: str, place: Path, params: Params) -> None:
    """Do one step of a measurement in this process."""
    if what == "prepare":
        case.prepare(place, params)
    elif what == "clear":
        case.clear(params)
    elif what == "check":
        case.check(contestant, place, params)
    else:
        case.load()
        print(json.dumps(asdict(case.contestants[contestant](place, params))))
