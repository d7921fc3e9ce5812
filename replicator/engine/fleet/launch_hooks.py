"""New machines that an Auto Scaling group holds back until they are filled.

One task for each. It sends heartbeats while the machine waits and is filled, has everything on it compared by digest, and only
then lets it into service. What fails is tried again until the time to give up has come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from replicator.core.pace import Backoff
from replicator.engine.fleet.fleet import Fleet
from replicator.engine.frontend.verify import verify
from replicator.engine.supervision import sentence
from replicator.ports import Candidate, Launch, LaunchControl

log = structlog.get_logger()

HEARTBEATS = 3
"""Heartbeats in a hook's time limit: two may be lost."""

LOOK = 0.5
"""Seconds between two looks at a machine that is being filled."""


@dataclass
class Attendance:
    """What is being done for one launch; `state` and `error` are for people."""

    candidate: Candidate
    launch: Launch
    state: str = "waiting until it is filled"
    error: str = ""
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    def fails(self, what: str, error: Exception) -> None:
        """Note that something has failed, whatever the type of its error, and log it; a bug with its traceback, once."""
        reason, is_bug = sentence(error)
        told = error if is_bug and reason != self.error else None
        self.error = reason
        log.warning(what, instance=self.launch.instance, reason=reason, exc_info=told)


class LaunchHooks:
    """Attends all launches.

    Args:
        control: tells the groups.
        fleet: where the machines are filled.
        pool: where catalogs are read.
        retry: delays between attempts.
        give_up: seconds after which a machine that is not filled has failed.
        abandon: give it up then; otherwise it is left to the hook's own time limit.
    """

    def __init__(
        self,
        control: LaunchControl,
        fleet: Fleet,
        pool: Executor,
        retry: Backoff,
        *,
        give_up: float,
        abandon: bool,
    ) -> None:
        self._control = control
        self._fleet = fleet
        self._pool = pool
        self._retry = retry
        self._give_up = give_up
        self._abandon = abandon
        self._attended: dict[Launch, Attendance] = {}

    def follow(self, candidates: Iterable[Candidate]) -> None:
        """Attend who waits, and nobody else any more."""
        waiting = {s.launch: s for s in candidates if s.launch is not None}
        for launch in [known for known in self._attended if known not in waiting]:
            task = self._attended.pop(launch).task
            if task is not None:
                task.cancel()
        for launch, candidate in waiting.items():
            if launch not in self._attended:
                made = self._attended[launch] = Attendance(candidate, launch)
                made.task = asyncio.get_running_loop().create_task(self._attend(made))

    def describe(self, identity: str) -> str:
        """Return what is being done for a machine; empty if nobody waits for it."""
        for launch, attendance in self._attended.items():
            if launch.instance == identity:
                error = f" ({attendance.error})" if attendance.error else ""
                return attendance.state + error
        return ""

    def close(self) -> None:
        """Stop attending; the hooks' own time limits decide."""
        self.follow(())

    async def _attend(self, attendance: Attendance) -> None:
        heart = asyncio.get_running_loop().create_task(self._beat(attendance))
        instance = attendance.launch.instance
        try:
            try:
                async with asyncio.timeout(self._give_up):
                    await self._fill(attendance)
            except TimeoutError:
                reason = attendance.error or "it was not filled in time"
                log.error("launch failed", instance=instance, reason=reason)  # noqa: TRY400  # no bug of ours
                if not self._abandon:
                    attendance.state = "given up: left to the hook's time limit"
                    return
                await self._complete(attendance, ready=False)
            else:
                await self._complete(attendance, ready=True)
        finally:
            heart.cancel()
            with suppress(asyncio.CancelledError):
                await heart

    async def _fill(self, attendance: Attendance) -> None:
        """Return when everything on the machine has been compared by digest, and is right."""
        attempts = 0
        while True:
            replica = self._fleet.find(attendance.candidate.address)
            if replica is None or not replica.caught_up:
                attendance.error = replica.last_error if replica else "it is not in the fleet"
                await (replica.changed(LOOK) if replica else asyncio.sleep(LOOK))
                continue
            attendance.state = "being verified"
            try:
                report = await verify(replica, self._pool, repair=True)
            except Exception as error:  # noqa: BLE001  # of any type: the next attempt may succeed
                attempts += 1
                attendance.fails("launch not verified", error)
                await asyncio.sleep(self._retry.delay(attempts))
                continue
            if not report.differing and not report.error:
                attendance.error = ""
                return
            attendance.state = "waiting until it is filled"
            await asyncio.sleep(LOOK)

    async def _beat(self, attendance: Attendance) -> None:
        while True:
            try:
                await self._control.heartbeat(attendance.launch)
            except Exception as error:  # noqa: BLE001
                attendance.fails("no heartbeat", error)
            await asyncio.sleep(attendance.launch.timeout / HEARTBEATS)

    async def _complete(self, attendance: Attendance, *, ready: bool) -> None:
        """Tell the group, however often that takes: until it is told, nobody is served, or a broken machine is paid for."""
        attempts = 0
        while True:
            try:
                await self._control.complete(attendance.launch, ready=ready)
            except Exception as error:  # noqa: BLE001
                attempts += 1
                attendance.fails("launch not completed", error)
                await asyncio.sleep(self._retry.delay(attempts))
            else:
                attendance.error = ""
                attendance.state = "verified: put into service" if ready else "given up: abandoned"
                log.info("launch completed", instance=attendance.launch.instance, ready=ready)
                return
