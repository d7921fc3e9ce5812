"""The backend's side of the eyewitnesses: one process on each frontend, each over its own SSH connection."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.stage import Host, Stage

SCRIPT = (Path(__file__).parent / "eyewitness.py").read_text()

PATIENCE = 300.0
"""Seconds after which a file or event that has not appeared counts as missing."""


class Witnesses:
    """Asks all frontends the same at the same time.

    Args:
        stage: how they are reached.
        hosts: which they are.
    """

    def __init__(self, stage: Stage, hosts: tuple[Host, ...]) -> None:
        self._stage = stage
        self._hosts = hosts
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        for host in self._hosts:
            command = self._stage.ssh(host, "python3", "-u", "-c", SCRIPT)
            pipe = subprocess.PIPE
            self._processes.append(
                subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1)
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:  # fmt: skip
        for process in self._processes:
            process.kill()
            process.communicate()

    @property
    def pids(self) -> set[int]:
        """The processes that are not the contestant's."""
        return {process.pid for process in self._processes}

    def begin(self, name: str, *arguments: Any, among: int | None = None) -> None:
        """Ask all, or the first few, and do not wait; the order of requests is the order of answers."""
        for process in self._processes[:among]:
            assert process.stdin
            print(json.dumps([name, *arguments]), file=process.stdin, flush=True)

    def end(self, among: int | None = None) -> list[Any]:
        """Return each frontend's answer to the oldest open request; raises AssertionError if one has none."""
        answers = []
        for process in self._processes[:among]:
            assert process.stdout
            answer = json.loads(process.stdout.readline() or '{"error": "the eyewitness has gone"}')
            assert "answer" in answer, answer["error"]
            answers.append(answer["answer"])
        return answers

    def ask(self, name: str, *arguments: Any, among: int | None = None) -> list[Any]:
        """Ask, and return the answers."""
        self.begin(name, *arguments, among=among)
        return self.end(among)
