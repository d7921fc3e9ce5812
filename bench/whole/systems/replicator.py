"""Ours: the daemon, with frontends listed in a file; and the command without a daemon."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from bench.stage import Host
from bench.whole.systems import store
from bench.whole.systems.job import Job, System, together

Status = dict[str, Any]

PATIENCE = 900.0

ASK = 0.1
"""Seconds between two questions: each costs the daemon a millisecond or two."""


SCRAPE = 1.0
"""Seconds between two readings of the metrics."""


class Replicator(System):
    """Runs `replicator serve`, and asks it.

    Args:
        job: what is to be carried where.
        concurrency: frontends that are filled at a time.
    """

    def __init__(self, job: Job, *, concurrency: int = 2) -> None:
        super().__init__(job)
        self._config = job.place / "replicator.toml"
        self._list = job.place / "frontends"
        self._hosts: list[Host] = []
        self._config.write_text(
            f'[[tree]]\nsource = "{job.source}"\ntarget = "{job.target}"\n'
            f'[discovery]\nprovider = "file"\npath = "{self._list}"\n'
            f'[ssh]\nidentity = "{job.stage.identity}"\nknown_hosts = "{job.stage.known_hosts}"\n'
            f"[bootstrap]\nconcurrency = {concurrency}\n"
            f'[state]\ndirectory = "{job.place}/state"\n'
        )

    def start(self, hosts: Sequence[Host]) -> None:
        """Run the daemon, and wait until it has read the source and filled everybody."""
        self._write(hosts)
        self.serve()
        self.wait(self._settled)

    def hold(self, hosts: Sequence[Host]) -> None:
        """Let the daemon know them."""
        self.start(hosts)

    def serve(self) -> None:
        """Run the daemon."""
        self._spawn([sys.executable, "-m", "replicator", "serve", "--config", self._config])

    def grow(self, hosts: Sequence[Host]) -> None:
        """Name other frontends in the file, which is read every second; return when those that are gone from it are not served any more."""
        self._write(hosts)
        self.wait(lambda status: len(status["frontends"]) <= len(hosts))

    def fill(self, hosts: Sequence[Host]) -> None:
        """One by the command; more by naming them."""
        if len(hosts) == 1:
            command = [sys.executable, "-m", "replicator", "bootstrap", str(hosts[0])]
            together([[*command, "--config", str(self._config)]])
        else:
            self._write(hosts)
            self.wait(self._settled)

    def wait(self, condition: Callable[[Status], bool]) -> Status:
        """Wait until the daemon's state is as it should be; return it."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            status = self._status()
            if status is not None and condition(status):
                return status
            time.sleep(ASK)
        raise AssertionError(f"the daemon did not get there: {self._status()}")

    def scanned(self, status: Status) -> bool:
        """Whether it knows the whole source."""
        return all(tree["state"] == "watching" and not tree["pending"] for tree in status["trees"])

    def _settled(self, status: Status) -> bool:
        rows = [row for row in status["frontends"] if row["state"] == "live" and not row["dirty"]]
        return len(rows) == len(self._hosts) and self.scanned(status)

    def _status(self) -> Status | None:
        from replicator.control import client, socket_path
        from replicator.errors import ControlError

        try:
            return next(
                client.ask(socket_path(f"{self.job.place}/state"), {"command": "status"}), None
            )
        except (OSError, ControlError):
            return None

    def _write(self, hosts: Sequence[Host]) -> None:
        self._hosts = list(hosts)
        new = self._list.with_suffix(".new")
        new.write_text("".join(f"{host}\n" for host in hosts))
        os.replace(new, self._list)


class Observed(Replicator):
    """With what an operator adds: a `delivered` hook, and a monitoring system that reads the metrics every second."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._socket = f"{job.place}/http.sock"
        self._ended = threading.Event()
        self._scraping = threading.Thread(target=self._scrape)
        with self._config.open("a") as config:
            config.write(
                f'[http]\nlisten = "{self._socket}"\n'
                '[[hook]]\nevent = "delivered"\ncommand = ["/bin/true"]\n'
            )

    def start(self, hosts: Sequence[Host]) -> None:
        """Run the daemon, and read its metrics from now on."""
        super().start(hosts)
        self._scraping.start()

    def _scrape(self) -> None:
        """Read the metrics until the end, on one connection, as Prometheus does; in this process, whose CPU time does not count."""
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self._socket)
        with contextlib.closing(connection):
            while not self._ended.wait(SCRAPE):
                connection.request("GET", "/metrics")
                connection.getresponse().read()

    def stop(self) -> None:
        """End both."""
        self._ended.set()
        if self._scraping.ident is not None:
            self._scraping.join()
        super().stop()


class WithBase(Replicator):
    """With a base in an object store on this machine, which does not count as the backend's."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._store = store.Store(job.place / "store")
        with self._config.open("a") as config:
            config.write(
                f'[base]\nurl = "s3://{store.BUCKET}/base"\nendpoint = "{self._store.url}"\nregion = "{store.REGION}"\n'
                'bandwidth = "1GB/s"\n'
            )

    @property
    def bystanders(self) -> set[int]:
        """The store."""
        return {self._store.pid}

    def start(self, hosts: Sequence[Host]) -> None:
        """Run the daemon, and wait until the base is published as well."""
        super().start(hosts)
        command = [
            sys.executable,
            "-m",
            "replicator",
            "base",
            "publish",
            "--config",
            str(self._config),
        ]
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **store.ENVIRONMENT}
        )

    def serve(self) -> None:
        """Run the daemon with the credentials of the store."""
        command = [sys.executable, "-m", "replicator", "serve", "--config", self._config]
        self._spawn(command, **store.ENVIRONMENT)

    def stop(self) -> None:
        """End, and the store too."""
        super().stop()
        self._store.stop()


class Cold(Replicator):
    """Without a daemon: each time it reads and hashes the whole source first."""

    def start(self, hosts: Sequence[Host]) -> None:
        """There is nobody to start."""
        assert not hosts
        self._write(())

    def hold(self, hosts: Sequence[Host]) -> None:
        """Fill them for the first time."""
        self.start(())
        self.fill(hosts)
