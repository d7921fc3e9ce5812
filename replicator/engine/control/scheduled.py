"""Verify all frontends on a schedule, one after the other.

The times are those of the backend's clock. A time that passes while the daemon does not run is skipped, and so is one that passes while
the former run still verifies. A run that was interrupted is not continued: the next one verifies everything.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import structlog

from replicator.config import Schedule, VerifySettings
from replicator.engine.control.verifier import Verifier
from replicator.engine.loop import loop_time
from replicator.engine.service import Service

log = structlog.get_logger()

LOOK = 30.0
"""Seconds between two looks at the clock: it may be set, and stands still for the event loop while the machine sleeps."""

LATE = 3600.0
"""Seconds after its time within which a run still begins, for example after the machine has slept."""


class ScheduledVerification:
    """Runs verifications at the configured times.

    Args:
        service: the service whose frontends are verified.
        verifier: verifies one.
        now: returns the time in Unix seconds.
    """

    def __init__(
        self, service: Service, verifier: Verifier, now: Callable[[], float] = time.time
    ) -> None:
        self._service = service
        self._verifier = verifier
        self._now = now
        self._settings = VerifySettings()
        self._changed = asyncio.Event()
        self._due: float | None = None
        self._running = ""
        self._error = ""

    def failed(self, reason: str) -> None:
        """Record that `run` has failed, and why, until the next run has verified all frontends."""
        self._error = reason

    def use(self, settings: VerifySettings) -> None:
        """Apply settings. If they differ from those in force, a run in progress ends."""
        if settings != self._settings:
            self._settings = settings
            self._error = ""
            self._changed.set()

    def describe(self) -> dict[str, Any]:
        """Return what `status` shows.

        `next` is in Unix seconds, `running` the frontend that is being verified, `error` why the last attempt failed.
        """
        schedule = self._settings.when
        return {
            "schedule": self._settings.schedule,
            "interval_seconds": schedule.interval if schedule else None,
            "next": self._due,
            "running": self._running,
            "error": self._error,
        }

    async def run(self) -> None:
        """Verify at the configured times until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            tasks = [
                loop.create_task(self._follow(self._settings)),
                loop.create_task(self._changed.wait()),
            ]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                self._due, self._running = None, ""
            for task in tasks:
                if not task.cancelled():
                    task.result()

    async def _follow(self, settings: VerifySettings) -> None:
        schedule = settings.when
        if schedule is None:
            await asyncio.Event().wait()
            return
        while True:
            due = await self._next(schedule)
            late = self._now() - due
            if late > LATE:
                reason = (
                    f"its time was {late / 3600:.1f} h ago: the machine slept, or its clock was set"
                )
                log.warning("verification skipped", reason=reason)
                continue
            await self._verify_all(settings)
            if schedule.next(due) < self._now():
                log.warning(
                    "verification skipped",
                    reason="the former one was still running: choose a longer interval, or a higher verify.rate",
                )

    async def _next(self, schedule: Schedule) -> float:
        """Wait for the next time of a schedule, and return it."""
        due = self._due = schedule.next(self._now())
        while (left := due - self._now()) > 0:
            await asyncio.sleep(min(left, LOOK))
            due = self._due = min(
                due, schedule.next(self._now())
            )  # earlier, if the clock was set back
        return due

    async def _verify_all(self, settings: VerifySettings) -> None:
        began = loop_time()
        machines = {replica.machine: replica.address for replica in self._service.fleet}
        log.info("verification begins", frontends=len(machines))
        await self._verifier.rescan()
        differing = failed = 0
        for address in machines.values():
            replica = self._service.fleet.find(address)
            if replica is None:  # it left meanwhile
                continue
            self._running = address.host
            if replica.is_bootstrapped and not replica.is_paused:
                report = await self._verifier.verify(
                    replica, repair=settings.repair, rate=settings.bytes_per_second
                )
            else:
                state = "paused" if replica.is_paused else replica.state.value
                reason = f"{address.host}: it is {state}"
                report = await self._verifier.skip(replica, reason)
            differing += bool(report.silent)
            failed += bool(report.error)
        self._running = self._error = ""
        seconds = round(loop_time() - began, 1)
        log.info(
            "verification ended",
            frontends=len(machines),
            differing=differing,
            failed=failed,
            seconds=seconds,
        )
