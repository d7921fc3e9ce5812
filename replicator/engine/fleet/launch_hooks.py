"""Complete the launch hooks of new machines, which an Auto Scaling group keeps out of service until they are filled.

One task for each machine. It sends heartbeats while the machine waits and is filled, then has everything on it compared by digest, and completes
the hook only if all is equal. Whatever fails is retried until `discovery.give_up` seconds have passed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from replicator.core.pace import Backoff
from replicator.engine.fleet.fleet import Fleet
from replicator.engine.frontend.verify import is_caught_up, verify
from replicator.engine.supervision import sentence
from replicator.ports import Candidate, Launch, LaunchControl

log = structlog.get_logger()

HEARTBEATS = 3
"""Heartbeats within a hook's timeout: two may be lost."""

POLL = 0.5
"""Seconds between two checks of a machine that is being filled."""


IN_SERVICE, ABANDONED, LEFT = RESULTS = "in_service", "abandoned", "left"
"""How a launch ends: verified and put into service; given up and abandoned; given up and left to the hook's time limit."""


@dataclass
class OpenHook:
    """A launch hook that is not completed yet; `status` shows `state` and `error`."""

    candidate: Candidate
    launch: Launch
    state: str = "waiting until it is filled"
    error: str = ""
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    def fails(self, what: str, error: Exception) -> None:
        """Record and log a failure of any type; a bug is logged once with its traceback."""
        reason, is_bug = sentence(error)
        traceback = error if is_bug and reason != self.error else None
        self.error = reason
        log.warning(what, instance=self.launch.instance, reason=reason, exc_info=traceback)


class LaunchHooks:
    """Handles all launches.

    Args:
        control: sends heartbeats, and completes the hooks.
        fleet: the replicas of the machines.
        pool: threads that read catalogs.
        retry: delays between attempts.
        give_up: seconds after which a machine that is not filled has failed.
        abandon: True to abandon it then; otherwise the hook's timeout applies.

    Attributes:
        results: number of launches that have ended, by result.
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
        self.results = Counter(dict.fromkeys(RESULTS, 0))
        self._open: dict[Launch, OpenHook] = {}

    def follow(self, candidates: Iterable[Candidate]) -> None:
        """Start a task for each launch that waits, and cancel the tasks of all others."""
        waiting = {one.launch: one for one in candidates if one.launch is not None}
        for launch in [known for known in self._open if known not in waiting]:
            task = self._open.pop(launch).task
            if task is not None:
                task.cancel()
        for launch, candidate in waiting.items():
            if launch not in self._open:
                hook = self._open[launch] = OpenHook(candidate, launch)
                hook.task = asyncio.get_running_loop().create_task(self._handle(hook))

    def describe(self, identity: str) -> str:
        """Return the state of a machine's launch hook; empty if it has none."""
        for launch, hook in self._open.items():
            if launch.instance == identity:
                error = f" ({hook.error})" if hook.error else ""
                return hook.state + error
        return ""

    def close(self) -> None:
        """Cancel all tasks; the hooks' timeouts apply."""
        self.follow(())

    async def _handle(self, hook: OpenHook) -> None:
        heartbeat = asyncio.get_running_loop().create_task(self._beat(hook))
        instance = hook.launch.instance
        try:
            try:
                async with asyncio.timeout(self._give_up):
                    await self._fill(hook)
            except TimeoutError:
                reason = hook.error or "it was not filled in time"
                log.error("launch failed", instance=instance, reason=reason)  # noqa: TRY400  # expected, so without a traceback
                if not self._abandon:
                    hook.state = "given up: left to the hook's time limit"
                    self.results[LEFT] += 1
                    return
                await self._complete(hook, ready=False)
            else:
                await self._complete(hook, ready=True)
        finally:
            heartbeat.cancel()
            with suppress(asyncio.CancelledError):
                await heartbeat

    async def _fill(self, hook: OpenHook) -> None:
        """Wait until everything on the machine has been compared by digest, and is equal."""
        attempts = 0
        while True:
            replica = self._fleet.find(hook.candidate.address)
            if replica is None or not is_caught_up(replica):
                hook.error = replica.last_error if replica else "it is not in the fleet"
                await (replica.changed(POLL) if replica else asyncio.sleep(POLL))
                continue
            hook.state = "being verified"
            try:
                report = await verify(replica, self._pool, repair=True)
            except Exception as error:  # noqa: BLE001  # a failure of any type is retried
                attempts += 1
                hook.fails("launch not verified", error)
                await asyncio.sleep(self._retry.delay(attempts))
                continue
            if not report.differing and not report.error:
                hook.error = ""
                return
            hook.state = "waiting until it is filled"
            await asyncio.sleep(POLL)

    async def _beat(self, hook: OpenHook) -> None:
        while True:
            try:
                await self._control.heartbeat(hook.launch)
            except Exception as error:  # noqa: BLE001  # a failure of any type is retried
                hook.fails("no heartbeat", error)
            await asyncio.sleep(hook.launch.timeout / HEARTBEATS)

    async def _complete(self, hook: OpenHook, *, ready: bool) -> None:
        """Complete the hook, and retry until that succeeds: a hook that stays open keeps a good machine out of service, or a failed one running."""
        attempts = 0
        while True:
            try:
                await self._control.complete(hook.launch, ready=ready)
            except Exception as error:  # noqa: BLE001  # a failure of any type is retried
                attempts += 1
                hook.fails("launch not completed", error)
                await asyncio.sleep(self._retry.delay(attempts))
            else:
                hook.error = ""
                self.results[IN_SERVICE if ready else ABANDONED] += 1
                hook.state = "verified: put into service" if ready else "given up: abandoned"
                log.info("launch completed", instance=hook.launch.instance, ready=ready)
                return
