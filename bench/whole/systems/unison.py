"""Unison, one client for each frontend, as it is told to repeat."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from bench.stage import Host
from bench.whole.systems.job import Job, System, together


class Unison(System):
    """Polls, since it follows changes only with a helper that Debian does not have for it.

    Args:
        job: what is to be carried where.
        pause: seconds between two looks.
    """

    def __init__(self, job: Job, *, pause: int = 1) -> None:
        super().__init__(job)
        self._pause = pause

    def start(self, hosts: Sequence[Host]) -> None:
        """Run one for each."""
        for host in hosts:
            self._spawn(
                [*self._command(host), "-repeat", str(self._pause)], UNISON=self._state(host)
            )

    def fill(self, hosts: Sequence[Host]) -> None:
        """Run one for each, once."""
        together([["env", f"UNISON={self._state(host)}", *self._command(host)] for host in hosts])

    def _state(self, host: Host) -> str:
        """One for each: on loopback all frontends have the same name and path, by which it tells its archives apart."""
        directory = self.job.place / "unison" / f"{host.address}-{host.port}"
        directory.mkdir(parents=True, exist_ok=True)
        return str(directory)

    def _command(self, host: Host) -> list[str]:
        job = self.job
        ssh, *options = job.stage.ssh_options(host)
        there = f"ssh://{host.user}@{host.address}/{job.target}"
        settings = ["-batch", "-auto", "-fastcheck", "true", "-log=false", "-confirmbigdel=false"]
        return [
            "unison", "-ui", "text", str(job.source), there,
            "-sshcmd", ssh, "-sshargs", shlex.join(options), *settings,
        ]  # fmt: skip
