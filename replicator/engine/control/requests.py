"""Answer the requests of an operator: over the control socket, or in the process of a command that runs without a daemon."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from replicator.core.lifecycle import State
from replicator.engine.context import Context
from replicator.engine.control import areas
from replicator.engine.control.health import NOTHING, Tolerance
from replicator.engine.control.history import History
from replicator.engine.control.names import Name
from replicator.engine.control.pausing import Pausing
from replicator.engine.control.resuming import resume
from replicator.engine.control.status import describe, describe_frontend
from replicator.engine.control.verifier import Verifier
from replicator.engine.control.wait import Wait
from replicator.engine.fleet.fleet import MANUAL
from replicator.engine.frontend.replica import Replica
from replicator.engine.ingest.pipeline import Pipeline
from replicator.engine.loop import loop_time
from replicator.engine.service import Service
from replicator.errors import ControlError
from replicator.ports import Address, BasePublisher

PROGRESS = 0.2
"""Seconds between two progress lines of a request."""

LONGEST_WAIT = 86400.0
"""Largest time limit of `wait` in seconds."""

Lines = AsyncGenerator[dict[str, Any], None]
"""The lines of an answer."""


class Requests:
    """Answers requests about a running service.

    Args:
        service: the service.
        context: the objects that all its replicas share.

    Attributes:
        history: since when frontends and trees are in their states; publishes the changes; the daemon runs it.
        about_daemon: returns further values of `status`, about the daemon itself.
        publisher: publishes the base; None if none is configured.
        describe_hooks: returns a row for each hook, for `status`.
        describe_schedule: returns what `status` shows of scheduled verifications.
        verifier: verifies frontends.
    """

    def __init__(self, service: Service, context: Context) -> None:
        self._service = service
        self._context = context
        self.verifier = Verifier(context)
        # Not the threads that read for frontends: all of them may wait for a volume that hangs, which `status` must show.
        self._status_thread = ThreadPoolExecutor(1, thread_name_prefix="status")
        self.history = History(service, context.events)
        self._pausing = Pausing(service, context.paused, self._status_thread)
        self.about_daemon: Callable[[], dict[str, Any]] = dict
        self._began = loop_time()
        self._commands: dict[str, Callable[[dict[str, Any]], Lines]] = {
            "status": self._status,
            "bootstrap": self._bootstrap,
            "verify": self._verify,
            "wait": self.wait,
            "pause": self._pause,
            "unpause": self._unpause,
            "resume": self._resume,
            "base-publish": self._publish_base,
            "base-status": self._describe_base,
            "base-prune": self._prune_base,
        }
        self.describe_hooks: Callable[[], list[dict[str, Any]]] = list
        self.describe_schedule: Callable[[], dict[str, Any]] = dict
        self.publisher: BasePublisher | None = None

    async def handle(self, request: dict[str, Any]) -> Lines:
        """Answer a request of the control socket, in one or more lines.

        Raises:
            ControlError: if it cannot be answered; one sentence.
        """
        command = request.get("command")
        answer = self._commands.get(command) if isinstance(command, str) else None
        if answer is None:
            raise ControlError(f"unknown command {command!r}")
        async for line in answer(request):
            yield line

    async def status(self, tolerance: Tolerance = NOTHING) -> dict[str, Any]:
        """Return what `status --json` prints.

        Args:
            tolerance: limits within which `ok` is true although paths are dirty.
        """
        loop = asyncio.get_running_loop()
        return await describe(
            self._service.fleet,
            await self._counted(),
            self._service.describe_launch,
            tolerance,
            self.history,
            time=round(time.time(), 3),
            uptime_seconds=round(loop.time() - self._began, 3),
            bootstrapping=self._context.bootstrap_queue.inside,
            bootstraps=self._context.bootstraps.describe(),
            launches=self._service.describe_launches(),
            discovery=self._service.describe_discovery(),
            inotify=self._inotify(),
            pauses=self._pausing.rows(),
            **self.about_daemon(),
            hooks=self.describe_hooks(),
            verify=self.describe_schedule(),
            base=self.publisher.describe() if self.publisher else None,
        )

    async def _publish_base(self, request: dict[str, Any]) -> Lines:
        for row in await self._base.publish(take_over=bool(request.get("take_over"))):
            yield row

    async def _describe_base(self, _: dict[str, Any]) -> Lines:
        yield self._base.describe()

    async def _prune_base(self, _: dict[str, Any]) -> Lines:
        yield await self._base.prune()

    @property
    def _base(self) -> BasePublisher:
        """The publisher of the base. Raises ControlError if none is configured."""
        if self.publisher is None:
            raise ControlError("no base is configured: set base.url")
        return self.publisher

    def _inotify(self) -> dict[str, int | None]:
        """Return the watches of all trees together, and the kernel's limit for all programs of the user; None: unknown."""
        used = [pipeline.watches for pipeline in self._service.pipelines.values()]
        limits = [limit for _, limit in used if limit is not None]
        return {"watches": sum(count for count, _ in used), "limit": min(limits, default=None)}

    async def _status(self, request: dict[str, Any]) -> Lines:
        yield await self.status(_tolerance(request))

    async def _bootstrap(self, request: dict[str, Any]) -> Lines:
        async for line in self.bootstrap(_address(request)):
            yield line

    async def _verify(self, request: dict[str, Any]) -> Lines:
        address = _address(request) if request.get("host") else None
        repair, progress = bool(request.get("repair")), bool(request.get("progress"))
        async for line in self.verify(address, repair=repair, progress=progress):
            yield line

    async def _pause(self, request: dict[str, Any]) -> Lines:
        yield await self._pausing.pause(request)

    async def _unpause(self, request: dict[str, Any]) -> Lines:
        yield await self._pausing.unpause(request)

    async def _resume(self, request: dict[str, Any]) -> Lines:
        name = Name.of(request) if "name" in request else None
        for row in await resume(self._service, self._context, name):
            yield row

    async def bootstrap(self, address: Address) -> Lines:
        """Compare and fill one frontend now, whether discovery lists it or not; yield its row until that has ended.

        Raises:
            ControlError: if it cannot be reached, or something could not be sent.
        """
        replica = self._service.fleet.find(address)
        if replica is None:
            if pause := self._context.paused.of_address(address):
                raise ControlError(f"{address.host}: {pause}: `replicator unpause {address}`")
            replica = self._service.add_frontend(address)
        replica.waiting_requests += 1
        failures = replica.failures
        replica.resync(front=True)
        try:
            while not replica.is_bootstrapped:
                if replica.is_paused:
                    raise ControlError(replica.explanation)
                if replica.waits_for_source and (reason := self._halted(replica)):
                    raise ControlError(f"{address.host}: {reason}")
                if replica.state is State.RETRYING and replica.failures > failures:
                    raise ControlError(replica.explanation)
                if replica.state is State.GONE:
                    if (other := self._service.fleet.find(address)) is not None:
                        replica = self._instead(replica, other)
                        failures = replica.failures
                        continue
                    raise ControlError(f"{address.host}: it left while it was filled")
                yield describe_frontend(replica, halted=False)
                await replica.changed(PROGRESS)
            yield describe_frontend(replica, halted=False) | {"finished": True}
        finally:
            replica.waiting_requests -= 1
            # Discovery may have added it meanwhile, or another request may wait for it.
            forgotten = replica.candidate.source == MANUAL and not replica.waiting_requests
            if forgotten and self._service.fleet.find(replica.address) is replica:
                self._service.fleet.remove(replica.address)

    def _instead(self, replica: Replica, other: Replica) -> Replica:
        """Move this request to the replica that discovery has put in the place of the first one; return it after asking for a comparison.

        Discovery replaces a replica when the user or the port of its host changes.
        """
        replica.waiting_requests -= 1
        other.waiting_requests += 1
        other.resync(front=True)
        return other

    def _halted(self, replica: Replica) -> str:
        """Return why none of the trees that a frontend must still be compared with can be compared; empty if one can."""
        reasons = [
            self._context.trees[tree].state.halted or replica.target_error(tree)
            for tree in replica.uncompared
        ]
        return reasons[0] if reasons and all(reasons) else ""

    def wait(self, request: dict[str, Any]) -> Lines:
        """Wait until everything that was changed before now is confirmed; see `engine.control.wait`.

        Raises:
            ControlError: if the request is malformed, a path is not replicated, or there is no such frontend.
        """
        frontend = _address(request) if request.get("host") else None
        wait = Wait(self._service, self._context, areas.requested(request), frontend)
        return wait.run(_seconds(request.get("timeout")))

    async def verify(
        self, address: Address | None, *, repair: bool, progress: bool = False
    ) -> Lines:
        """Compare frontends by digest, one after the other; yield a report for each.

        Args:
            address: the frontend; None: all.
            repair: send again what differs.
            progress: yield lines with `progress` as well, five times a second.

        Raises:
            ControlError: if the frontend is unknown.
        """
        replicas = list(self._service.fleet)
        if address is not None:
            found = self._service.fleet.find(address)
            if found is None:
                raise ControlError(f"{address.host}: not one of the frontends")
            replicas = [found]
        await self.verifier.rescan()
        for replica in replicas:
            async for line in self._verify_one(replica, repair=repair, progress=progress):
                yield line

    async def _verify_one(
        self, replica: Replica, *, repair: bool, progress: bool
    ) -> AsyncGenerator[dict[str, Any], None]:
        address, compared = replica.address, 0

        def count(more: int) -> None:
            nonlocal compared
            compared += more

        total = sum(counts[0] for _, counts in await self._counted()) if progress else 0
        work = self.verifier.verify(replica, repair=repair, compared=count)
        task = asyncio.get_running_loop().create_task(work)
        try:
            while progress and not task.done():
                row = {"host": address.host, "port": address.port}
                yield {"progress": {**row, "compared": compared, "total": total}}
                await asyncio.wait([task], timeout=PROGRESS)
            yield (await task).row()
        finally:
            task.cancel()

    async def _counted(self) -> list[tuple[Pipeline, tuple[int, int]]]:
        """Return each tree's pipeline with the entries and bytes in its catalog."""
        loop = asyncio.get_running_loop()
        counted = []
        for pipeline in list(self._service.pipelines.values()):
            counts = await loop.run_in_executor(self._status_thread, pipeline.tree.catalog.counts)
            counted.append((pipeline, counts))
        return counted


def _tolerance(request: dict[str, Any]) -> Tolerance:
    lag, dirty = request.get("max_lag"), request.get("max_dirty")
    good_lag = lag is None or (type(lag) in (int, float) and 0 <= lag < math.inf)
    if not good_lag or type(dirty) not in (int, type(None)):
        raise ControlError("max_lag must be a number of seconds, and max_dirty a number of paths")
    return Tolerance(lag, dirty)


def _seconds(value: object) -> float:
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not 0 <= value <= LONGEST_WAIT
    ):
        raise ControlError(f"timeout must be a number of seconds, at most {LONGEST_WAIT:.0f}")
    return value


def _address(request: dict[str, Any]) -> Address:
    host, user, port = request.get("host"), request.get("user", ""), request.get("port", 0)
    if (
        not isinstance(host, str)
        or not host
        or not isinstance(user, str)
        or type(port) is not int
        or not 0 <= port < 65536
    ):
        raise ControlError("the request names no host")
    return Address(host, user, port)
