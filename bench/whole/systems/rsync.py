"""rsync -a, one for each frontend, all at the same time: what a cron job would do."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from bench.stage import Host
from bench.whole.systems.job import Job, System, together


class Rsync(System):
    """Does nothing by itself.

    Args:
        job: what is to be carried where.
        cipher: for SSH; default: what OpenSSH takes by itself, chacha20-poly1305.
    """

    def __init__(self, job: Job, *, cipher: str = "") -> None:
        super().__init__(job)
        self._cipher = ["-c", cipher] if cipher else []
        self._hosts: Sequence[Host] = ()

    def start(self, hosts: Sequence[Host]) -> None:
        """Fill them for the first time."""
        self._hosts = hosts
        self.fill(hosts)

    def grow(self, hosts: Sequence[Host]) -> None:
        """Remember them for the next run."""
        self._hosts = hosts

    def nudge(self) -> None:
        """Look again for what has changed, and for what is gone."""
        self._run(self._hosts, "--delete")

    def fill(self, hosts: Sequence[Host]) -> None:
        """Run one for each."""
        self._run(hosts)

    def _run(self, hosts: Sequence[Host], *more: str) -> None:
        job = self.job
        commands = []
        for host in hosts:
            shell = shlex.join([*job.stage.ssh_options(host), *self._cipher])
            there = f"{host.user}@{host.address}:{job.target}/"
            commands.append(["rsync", "-a", *more, "-e", shell, f"{job.source}/", there])
        together(commands)
