"""The longest turn of the event loop, and what another upload waits, while much changes at once.

The whole backend runs in this process, with agents in child processes. A task wakes every millisecond; `seconds` and `max_turn_ms` are
the longest time by which it was late. Other work on the machine counts as well; without any change it is below 5 ms.
`max_turn_cpu_ms` is the most CPU time that the loop's thread has used between two such moments: it does not depend on other work.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.case import Case, Measured, Params

BEAT = 0.001
"""Seconds between two looks at the clock."""

IN_A_DIRECTORY = 100

CHANGES = {
    "chmod": "chmod -R g-w bulk",
    "rewrite": "for d in bulk/*; do for f in $d/*; do echo again > $f; done; done",
    "delete": "rm -rf bulk",
    "move-out": "mv bulk ../bulk",
    "unpack": "cp -r bulk copy",
    "flat": f'{sys.executable} -c \'import os; [open("flat%d" % n, "w").close() for n in range(N)]\' && mkdir flat && mv flat* flat/',
    "rename": "for n in 1 2 3 4 5 6 7 8 9; do for m in 0 1 2 3 4 5 6 7 8 9; do mv bulk moved$n$m; mv moved$n$m bulk; done; done",
    "rename-on": "mv bulk moved0; for n in $(seq 200); do mv moved$((n - 1)) moved$n; done",
}
"""What changes, as a shell command in the source."""


class _Hosts:
    """Connects to agents in child processes, each of which has a directory of its own."""

    def __init__(self, at: Path) -> None:
        self.at = at

    async def connect(self, address: Any, identity: str = "") -> Any:
        from tests.support.child_agent import LocalConnector

        root = self.at / address.host
        root.mkdir(exist_ok=True)
        return await LocalConnector(pin_root=str(root)).connect(address, identity)


class _Turns:
    """The longest turns of the loop so far, in seconds of the clock and of its thread's CPU time."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.longest_cpu = 0.0

    async def measure(self) -> None:
        """Measure until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            began, used = loop.time(), time.thread_time()
            await asyncio.sleep(BEAT)
            self.longest = max(self.longest, loop.time() - began - BEAT)
            self.longest_cpu = max(self.longest_cpu, time.thread_time() - used)


async def _upload(at: Path, name: str, hosts: list[str]) -> float:
    """Write a file and return the seconds until every frontend has it; at most 120."""
    began = time.monotonic()
    (at / "source" / "uploads" / name).write_bytes(b"an upload")
    copies = [at / host / "site" / "uploads" / name for host in hosts]
    while not all(map(os.path.exists, copies)) and time.monotonic() < began + 120:  # noqa: ASYNC110  # other processes write them
        await asyncio.sleep(0.002)
    return time.monotonic() - began


async def _measure(at: Path, params: Params) -> Measured:
    from replicator.app import App
    from replicator.config import parse

    hosts = [f"host{number}" for number in range(params["hosts"])]
    config = parse(
        {
            "tree": [{"source": str(at / "source"), "target": "/site", "delete_guard": 1.0}],
            "discovery": {"frontends": hosts},
            "state": {"directory": str(at / "state")},
        },
        base=at,
    )
    app = App(config, connector=_Hosts(at))
    await app.set_trees(config)
    app.set_discovery(config)
    running = asyncio.get_running_loop().create_task(app.service.run())

    async def quiet() -> None:
        while True:
            status = await app.requests.status()
            rows = status["frontends"]
            busy = any(row["state"] != "live" or row["dirty"] for row in rows)
            if rows and not busy and not any(tree["pending"] for tree in status["trees"]):
                return
            await asyncio.sleep(0.2)

    await quiet()
    await _upload(at, "before", hosts)
    turns = _Turns()
    delays: list[float] = []
    beat = asyncio.get_running_loop().create_task(turns.measure())
    cpu, began = time.process_time(), time.monotonic()
    command = CHANGES[params["what"]].replace("range(N)", f"range({params['files']})")
    with subprocess.Popen(["/bin/bash", "-c", command], cwd=at / "source") as child:  # noqa: ASYNC220  # starting it blocks for a millisecond
        while child.poll() is None or len(delays) < params["uploads"]:
            delays.append(await _upload(at, f"upload{len(delays)}", hosts))
            await asyncio.sleep(0.1)
    await quiet()
    seconds, used = time.monotonic() - began, time.process_time() - cpu
    beat.cancel()
    app.service.stop()
    await running
    app.close()
    delays.sort()
    figures = {
        "max_turn_ms": 1000 * turns.longest,
        "max_turn_cpu_ms": 1000 * turns.longest_cpu,
        "upload_p50": delays[len(delays) // 2],
        "upload_longest": delays[-1],
        "settled_seconds": seconds,
    }
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Measured(turns.longest, used, memory, None, figures)


def replicator(at: Path, params: Params) -> Measured:
    """Change much, and upload single files meanwhile."""
    import structlog

    from replicator.cli.serve import COLLECT

    gc.freeze()  # as `replicator serve` does
    gc.set_threshold(*COLLECT)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    return asyncio.run(_measure(at, params))


def _write(at: Path, params: Params) -> None:
    (at / "state").mkdir(mode=0o700)
    (at / "source" / "uploads").mkdir(parents=True)
    for number in range(params["files"]):
        path = at / "source" / "bulk" / f"d{number // IN_A_DIRECTORY}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("content")


def _check(_: str, at: Path, params: Params) -> None:
    for host in range(params["hosts"]):
        there = at / f"host{host}" / "site"
        names = {path.name for path in (at / "source").iterdir()}
        assert {path.name for path in there.iterdir()} == names
        assert all((there / "uploads" / f"upload{n}").exists() for n in range(params["uploads"]))


CASES = [
    Case(
        f"turns-{what}", "the longest turn of the loop while much changes", {"replicator": replicator},
        _write, _check, variants=({"files": 100_000, "hosts": 2, "uploads": 10, "what": what},),
        tiny={"files": 300, "hosts": 1, "uploads": 1, "what": what},
    )
    for what in CHANGES
]  # fmt: skip
