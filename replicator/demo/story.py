"""The demonstration: three frontends are filled and kept up to date, three more join while uploads go on.

The daemon is the real one, started as a person starts it, with a configuration file; the story only writes files, sends
SIGHUP and SIGTERM, asks for the status, and looks at what arrives where.
"""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.live import Live
from rich.table import Table

from replicator.control import client
from replicator.demo.frontends import make_keys
from replicator.demo.site import Site
from replicator.demo.trees import difference
from replicator.errors import ControlError, ReplicatorError

if TYPE_CHECKING:
    from rich.console import Console

FIRST, LATER = 3, 3
PATIENCE = 45.0
"""Seconds that any one step may take before the demonstration gives up."""


class Story:
    """One run.

    Args:
        directory: where everything is kept.
        files: how many the uploads directory has at first.
        console: where each step is printed.
    """

    def __init__(self, directory: Path, files: int, console: Console) -> None:
        self._directory = directory
        self._files = files
        self._console = console
        self._site = Site(directory / "backend")
        self._config = directory / "replicator.toml"
        self._ports: list[int] = []
        self._live: Live | None = None

    def run(self) -> int:
        """Run all steps; return 0 if all trees are equal in the end, else 1."""
        started = time.monotonic()
        self._say(f"[bold]1.[/] {self._files} files in {self._site.root}")
        written = self._site.fill(self._files)
        big = self._site.big_file(16 << 20)
        make_keys(self._directory)
        with self._frontends(), Live(console=self._console, refresh_per_second=5) as self._live:
            self._write_config(FIRST)
            with self._daemon() as daemon:
                self._wait_until_equal(FIRST)
                self._say(
                    f"[bold]2.[/] {FIRST} frontends hold {written / 1e6:.0f} MB after {time.monotonic() - started:.1f} s"
                )
                calm = self._latencies(60)
                self._edit(big)
                self._say("[bold]3.[/] three more frontends join while uploads go on")
                self._write_config(FIRST + LATER)
                daemon.send_signal(signal.SIGHUP)
                busy = self._latencies(60)
                rows = self._wait_until_equal(FIRST + LATER)
                daemon.send_signal(signal.SIGTERM)
                code = daemon.wait(15)
        return self._conclude(rows, calm, busy, code, time.monotonic() - started)

    def _edit(self, big: Path) -> None:
        self._site.insert_in_the_middle(big, b"thirteen byte")
        for path in self._site.some(5):
            self._site.append(path, 100)
        year = next(path for path in sorted(self._site.root.iterdir()) if path.is_dir())
        year.rename(year.with_name(year.name + "-archive"))
        for path in self._site.some(20):
            if path != big:
                path.unlink()

    def _conclude(
        self,
        rows: list[dict[str, Any]],
        calm: list[float],
        busy: list[float],
        code: int,
        seconds: float,
    ) -> int:
        wrong = 0
        for number in range(1, FIRST + LATER + 1):
            root = self._root_of(number)
            paths = difference(self._site.root, root)
            wrong += bool(paths)
            verdict = (
                "[green]equal[/]"
                if not paths
                else f"[red]{len(paths)} paths differ, first {paths[0]!r}[/]"
            )
            self._say(f"   frontend {number}: {verdict}  {root}")
        self._say(f"[bold]4.[/] from close() to visible on {FIRST} frontends: {_percentiles(calm)}")
        self._say(f"   the same while {LATER} more were filled: {_percentiles(busy)}")
        saved = sum(row["bytes_saved"] for row in rows) / 1e6
        self._say(
            f"   deltas saved {saved:.1f} MB; {sum(row['bytes_sent'] for row in rows) / 1e6:.0f} MB were sent"
        )
        self._say(
            f"   one login for each frontend: {[row['logins'] for row in rows]}; the daemon exited {code}"
        )
        self._say(f"   {seconds:.1f} s in all; everything lies in {self._directory}")
        return 0 if not wrong and code == 0 else 1

    def _latencies(self, uploads: int) -> list[float]:
        """Upload files one after the other; return the seconds from close() until each is on the first frontends."""
        found = []
        for _ in range(uploads):
            path = self._site.upload(size=50_000)
            closed = time.perf_counter()
            copies = [
                self._root_of(number) / path.relative_to(self._site.root)
                for number in range(1, FIRST + 1)
            ]
            self._wait(
                partial(_all_exist, copies),
                "an upload to arrive",
                pause=0.0002,
            )
            found.append(time.perf_counter() - closed)
        self._show()
        return found

    def _root_of(self, number: int) -> Path:
        return self._directory / f"frontend-{number}" / "uploads"

    def _wait_until_equal(self, count: int) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []

        def equal() -> bool:
            rows[:] = self._show()
            settled = [row for row in rows if row["state"] == "live" and not row["dirty"]]
            return len(settled) == count == len(rows)

        self._wait(equal, f"{count} frontends to be up to date", pause=0.1)
        # A directory's time follows its content after a moment; wait for what a person would call quiet.
        self._wait(lambda: not self._pending() and equal(), "quiet", pause=0.1)
        return rows

    def _wait(self, condition: Callable[[], bool], what: str, *, pause: float) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise ReplicatorError(f"the demonstration waited {PATIENCE:g} s in vain for {what}")
            time.sleep(pause)

    def _status(self) -> dict[str, Any]:
        try:
            return next(
                client.ask(self._directory / "state" / "control.sock", {"command": "status"})
            )
        except (FileNotFoundError, ConnectionRefusedError, ControlError, StopIteration):
            return {"frontends": [], "trees": []}

    def _pending(self) -> int:
        return sum(
            tree["pending"] + (tree["state"] != "watching") for tree in self._status()["trees"]
        )

    def _show(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._status()["frontends"]
        table = Table("frontend", "state", "dirty", "queue", "files sent", "MB sent", "MB saved")
        for row in rows:
            table.add_row(
                f"{row['host']}:{row['port']}",
                row["state"],
                str(row["dirty"]),
                str(row["queue_position"] or ""),
                str(row["files_sent"]),
                f"{row['bytes_sent'] / 1e6:.1f}",
                f"{row['bytes_saved'] / 1e6:.1f}",
            )
        if self._live is not None and self._console.is_terminal:
            self._live.update(table)
        return rows

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)

    def _write_config(self, count: int) -> None:
        frontends = [f"127.0.0.1:{port}" for port in self._ports[:count]]
        host_key = (self._directory / "host.pub").read_text().strip()
        known = "".join(f"[127.0.0.1]:{port} {host_key}\n" for port in self._ports)
        (self._directory / "known_hosts").write_text(known)
        self._config.write_text(
            f'[[tree]]\nsource = "backend"\ntarget = "/uploads"\n\n'
            f"[discovery]\nfrontends = {json.dumps(frontends)}\n\n"
            f'[ssh]\nuser = "demo"\nidentity = "client"\nknown_hosts = "known_hosts"\n\n'
            f'[state]\ndirectory = "state"\n'
        )

    @contextmanager
    def _frontends(self) -> Iterator[None]:
        """The embedded SSH servers, in a process of their own."""
        command = [
            sys.executable,
            "-m",
            "replicator.demo.frontends",
            str(self._directory),
            str(FIRST + LATER),
        ]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603  # our own command
        try:
            assert process.stdout is not None  # we asked for a pipe
            self._ports = json.loads(process.stdout.readline())
            yield
        finally:
            process.communicate()

    @contextmanager
    def _daemon(self) -> Iterator[subprocess.Popen[bytes]]:
        log = self._directory / "daemon.log"
        command = [sys.executable, "-m", "replicator", "serve", "--config", str(self._config)]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stderr=output)  # noqa: S603  # our own command
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def _all_exist(paths: list[Path]) -> bool:
    return all(path.exists() for path in paths)


def _percentiles(samples: list[float]) -> str:
    cuts = statistics.quantiles(samples, n=100, method="inclusive")
    return f"p50 {cuts[49] * 1e3:.1f} ms, p90 {cuts[89] * 1e3:.1f} ms, p99 {cuts[98] * 1e3:.1f} ms"


def tell(files: int, console: Console) -> int:
    """Run the demonstration in a new directory; return its exit status."""
    directory = Path(tempfile.mkdtemp(prefix="replicator-demo-"))
    return Story(directory, files, console).run()
