"""The interface of the contestants: their task, and the operations that a case calls."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.stage import Host, Stage


@dataclass(frozen=True)
class Job:
    """What is to be carried where.

    Attributes:
        place: a directory of the contestant's own, for settings and state.
        source: what is to be carried.
        target: where to, on each frontend.
        stage: how frontends are reached.
    """

    place: Path
    source: Path
    target: str
    stage: Stage


class System:
    """Base class of the contestants. Operations that a program does not need do nothing.

    Args:
        job: what is to be carried where.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self._children: list[subprocess.Popen[bytes]] = []

    @property
    def bystanders(self) -> set[int]:
        """Processes of ours that do not run on the backend."""
        return set()

    def start(self, hosts: Sequence[Host]) -> None:
        """Start to keep these frontends equal to the source; may return before they are."""

    def grow(self, hosts: Sequence[Host]) -> None:
        """Change the list of frontends; some of them are new."""

    def fill(self, hosts: Sequence[Host]) -> None:
        """Make these frontends equal to the source, once, and return when they are."""
        raise NotImplementedError

    def hold(self, hosts: Sequence[Host]) -> None:
        """Fill these frontends, so that a later `fill` finds nothing to do; may leave a daemon running that speeds it up."""
        self.fill(hosts)

    def nudge(self) -> None:
        """Called after the source has changed; for programs that do not watch it."""

    def stop(self) -> None:
        """End, with everything that was started."""
        for child in self._children:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGTERM)
        for child in self._children:
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        self._children.clear()

    def _spawn(self, command: Sequence[object], **env: str) -> subprocess.Popen[bytes]:
        """Start a program in the background; what it says goes to a file in our place."""
        with (self.job.place / "said").open("ab") as said:
            child = subprocess.Popen(
                list(map(str, command)),
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                env={**os.environ, **env},
                start_new_session=True,
            )
        self._children.append(child)
        return child


def together(commands: Sequence[Sequence[object]]) -> None:
    """Run programs at the same time, and wait for all; raises CalledProcessError if one fails."""
    running = [
        subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL) for command in commands
    ]
    codes = [process.wait() for process in running]
    for code, command in zip(codes, commands, strict=True):
        if code:
            raise subprocess.CalledProcessError(code, list(map(str, command)))
