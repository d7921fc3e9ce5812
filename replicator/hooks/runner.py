"""Run one hook: at most once at a time, with what has come together since the last run."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any

import structlog

from replicator.core.hook_queue import HookQueue
from replicator.hooks.process import HookFailed, run

log = structlog.get_logger()


class Runner:
    """One hook.

    Args:
        event: name of the event, for log and status.
        command: the program and its arguments.
        queue: the events that wait for a run.
        batch: seconds that are collected before a run.
        seconds: time limit of a run.

    Attributes:
        batch, seconds: as given; a change applies to the next run.
        queue: as given; call `wake` after an addition.
        runs: number of runs.
        failures: number of runs that failed.
        error: why the last run failed; empty if it did not.
    """

    def __init__(
        self, event: str, command: Sequence[str], queue: HookQueue, *, batch: float, seconds: float
    ) -> None:
        self.event = event
        self.queue = queue
        self.runs = 0
        self.failures = 0
        self.error = ""
        self._command = tuple(command)
        self.batch = batch
        self.seconds = seconds
        self._began: float | None = None
        self._took = 0.0
        self._ended_at: float | None = None
        self._status: int | None = None
        self._added = asyncio.Event()

    def is_of(self, event: str, command: Sequence[str]) -> bool:
        """Return True if this is the hook for an event and a command."""
        return (self.event, self._command) == (event, tuple(command))

    def wake(self) -> None:
        """Note that something waits."""
        self._added.set()

    async def follow(self) -> None:
        """Run the hook whenever something has waited for `batch` seconds, until cancelled."""
        while True:
            await self._added.wait()
            await asyncio.sleep(self.batch)
            self._added.clear()
            # What is added during a run waits for the next batch, or a burst would start a process for every few paths.
            for _ in range(self.queue.runs):
                if (event := self.queue.take()) is not None:
                    await self._run(event)

    async def _run(self, event: dict[str, Any]) -> None:
        self.runs += 1
        self._began = time.monotonic()
        bound = log.bind(hook=self._command[0], about=self.event)
        try:
            data = json.dumps(event).encode() + b"\n"
            await run(
                self._command,
                data,
                self.seconds,
                lambda line: bound.info("hook output", line=line),
            )
            self.error, self._status = "", 0
        except HookFailed as error:
            self._failed(str(error), error.status)
        except Exception as error:
            log.exception("internal error", hook=self._command[0])
            self._failed(f"internal error: {error!r}")
        finally:
            self._ended_at = time.time()
            self._took = time.monotonic() - self._began
            self._began = None

    def _failed(self, reason: str, status: int | None = None) -> None:
        self.failures += 1
        self._status = status
        self.error = reason
        log.warning("hook failed", hook=self._command[0], about=self.event, reason=reason)

    def describe(self) -> dict[str, Any]:
        """Return a row for `status`."""
        running = time.monotonic() - self._began if self._began is not None else None
        return {
            "event": self.event,
            "command": [self._command[0]],  # arguments may be secrets, such as the URL of a webhook
            "runs": self.runs,
            "failures": self.failures,
            "last_error": self.error,
            "waiting": len(self.queue),
            "running_seconds": None if running is None else round(running, 3),
            "last_at": None if self._ended_at is None else round(self._ended_at, 3),
            "last_seconds": None if self._ended_at is None else round(self._took, 3),
            "last_status": self._status,
        }
