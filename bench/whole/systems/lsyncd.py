"""lsyncd, as it comes and as its users tune it; the membership changes as their cron scripts do it, by a restart."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

from bench.stage import Host
from bench.whole.systems.job import Job, System

PERSIST = ["-o", "ControlMaster=auto", "-o", "ControlPersist=600"]


class Lsyncd(System):
    """One `default.rsync` for each frontend.

    Args:
        job: what is to be carried where.
        tuned: no delay, one persistent SSH connection for each frontend, and rsync to all of them at once.
    """

    def __init__(self, job: Job, *, tuned: bool = False) -> None:
        super().__init__(job)
        self._tuned = tuned

    def start(self, hosts: Sequence[Host]) -> None:
        """Write its settings and run it."""
        config = self.job.place / "lsyncd.lua"
        log = self.job.place / "lsyncd.log"
        limit = ", maxProcesses = 20" if self._tuned else ""
        lines = [
            f"settings {{ nodaemon = true, insist = true, logfile = {_lua(str(log))}{limit} }}"
        ]
        config.write_text("\n".join([*lines, *map(self._sync, hosts)]))
        self._spawn(["lsyncd", "-nodaemon", config])

    def grow(self, hosts: Sequence[Host]) -> None:
        """Restart it with other settings: it knows no other way."""
        self.stop()
        self.start(hosts)

    def _sync(self, host: Host) -> str:
        job = self.job
        ssh = job.stage.ssh_options(host)
        if self._tuned:  # a path of its own, short: a socket's name has a limit of 108 bytes
            ssh += [*PERSIST, "-o", f"ControlPath=/tmp/bench-{job.place.name[-8:]}-%C"]
        return (
            f"sync {{ default.rsync, source = {_lua(str(job.source))},"
            f" target = {_lua(f'{host.user}@{host.address}:{job.target}')},"
            f"{' delay = 0,' if self._tuned else ''}"
            f" rsync = {{ archive = true, rsh = {_lua(shlex.join(ssh))} }} }}"
        )


def _lua(text: str) -> str:
    """Return a text as Lua writes it; for what we put in, that is as JSON does."""
    return json.dumps(text)
