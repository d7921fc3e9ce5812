"""Answer the requests of an operator: over the control socket, or in the process of a command that runs without a daemon."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog

from replicator.core.lifecycle import State
from replicator.engine.context import Context
from replicator.engine.control.health import NOTHING, Tolerance
from replicator.engine.control.history import History
from replicator.engine.control.status import describe, describe_frontend
from replicator.engine.control.wait import Wait
from replicator.engine.fleet.fleet import MANUAL
from replicator.engine.frontend.replica import Replica
from replicator.engine.frontend.verify import Report, verify
from replicator.engine.service import Service
from replicator.engine.supervision import sentence
from replicator.errors import ControlError
from replicator.model import printable
from replicator.ports import Address

log = structlog.get_logger()

PROGRESS = 0.2
"""Seconds between two progress lines of a request."""

LONGEST_WAIT = 86400.0
"""Largest time limit of `wait` in seconds."""

_NO_AREAS = "areas must be a list of pairs: a source directory and a path below it"

COMPARED = (State.QUEUED, State.BOOTSTRAPPING)
"""States of a frontend that is being compared, or waits for that."""


class Requests:
    """Answers requests about a running service.

    Args:
        service: the service.
        context: the objects that all its replicas share.

    Attributes:
        history: since when frontends and trees are in their states; the daemon runs it.
        about_daemon: returns further values of `status`, about the daemon itself.
        describe_hooks: returns a row for each hook, for `status`.
    """

    def __init__(self, service: Service, context: Context) -> None:
        self._service = service
        self._context = context
        # Not the threads that read for frontends: all of them may wait for a volume that hangs, which `status` must show.
        self._status_thread = ThreadPoolExecutor(1, thread_name_prefix="status")
        self.history = History(service)
        self.about_daemon: Callable[[], dict[str, Any]] = dict
        self._began = asyncio.get_running_loop().time()
        self.describe_hooks: Callable[[], list[dict[str, Any]]] = list

    async def handle(self, request: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Answer a request of the control socket, in one or more lines.

        Raises:
            ControlError: if it cannot be answered; one sentence.
        """
        command = request.get("command")
        if command == "status":
            yield await self.status(_tolerance(request))
        elif command == "bootstrap":
            async for line in self.bootstrap(_address(request)):
                yield line
        elif command == "verify":
            address = _address(request) if request.get("host") else None
            async for line in self.verify(address, repair=bool(request.get("repair"))):
                yield line
        elif command == "wait":
            async for line in self.wait(request):
                yield line
        elif command == "resume":
            for row in await self.resume():
                yield row
        else:
            raise ControlError(f"unknown command {command!r}")

    async def status(self, tolerance: Tolerance = NOTHING) -> dict[str, Any]:
        """Return what `status --json` prints.

        Args:
            tolerance: limits within which `ok` is true although paths are dirty.
        """
        loop = asyncio.get_running_loop()
        trees = []
        for pipeline in list(self._service.pipelines.values()):
            counts = await loop.run_in_executor(self._status_thread, pipeline.tree.catalog.counts)
            trees.append((pipeline, counts))
        return await describe(
            self._service.fleet,
            trees,
            self._service.describe_launch,
            tolerance,
            self.history,
            time=round(time.time(), 3),
            uptime_seconds=round(loop.time() - self._began, 3),
            bootstrapping=self._context.bootstrap_queue.inside,
            discovery=self._service.describe_discovery(),
            inotify=self._inotify(),
            **self.about_daemon(),
            hooks=self.describe_hooks(),
        )

    def _inotify(self) -> dict[str, int | None]:
        """Return the watches of all trees together, and the kernel's limit for all programs of the user; None: unknown."""
        used = [pipeline.watches for pipeline in self._service.pipelines.values()]
        limits = [limit for _, limit in used if limit is not None]
        return {"watches": sum(count for count, _ in used), "limit": min(limits, default=None)}

    async def resume(self) -> list[dict[str, Any]]:
        """Send deletions that are held back, and accept sources and targets that are in doubt; return a row for each.

        This also confirms the surplus of these trees on frontends whose comparison is running or queued. It does not affect other trees.
        """
        rows, in_doubt = [], set()
        accepted = self._context.targets.accept_refused()
        for number, pipeline in list(self._service.pipelines.items()):
            reason = pipeline.needs_confirmation
            if reason:
                in_doubt.add(number)
                rows.append({"what": printable(pipeline.tree.root), "reason": reason})
                await pipeline.resume()
        asking = [replica for replica in self._service.fleet if replica.errors.surplus_kept]
        rows += [
            {"what": replica.address.host, "reason": replica.errors.surplus_kept}
            for replica in asking
        ]
        for replica in self._service.fleet:
            if replica.machine in accepted:
                reason = accepted[replica.machine]
                rows.append({"what": replica.address.host, "reason": reason})
                replica.use_targets()
        asked = set().union(*(replica.errors.trees_with_surplus for replica in asking))
        for replica in self._service.fleet:
            confirmed = in_doubt | replica.errors.trees_with_surplus
            confirmed |= asked if replica.state in COMPARED else set()
            if confirmed:
                replica.confirm(confirmed & self._context.trees.keys())
        return rows

    async def bootstrap(self, address: Address) -> AsyncGenerator[dict[str, Any], None]:
        """Compare and fill one frontend now, whether discovery lists it or not; yield its row until that has ended.

        Raises:
            ControlError: if it cannot be reached, or something could not be sent.
        """
        replica = self._service.fleet.find(address)
        if replica is None:
            replica = self._service.add_frontend(address)
        replica.waiting_requests += 1
        failures = replica.failures
        replica.resync(front=True)
        try:
            while not replica.is_bootstrapped:
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
        """Wait for another replica of the same host: discovery has replaced the first one, with a user or a port."""
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

    def wait(self, request: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Wait until everything that was changed before now is confirmed; see `engine.control.wait`.

        Raises:
            ControlError: if the request is malformed, a path is not replicated, or there is no such frontend.
        """
        frontend = _address(request) if request.get("host") else None
        wait = Wait(self._service, self._context, _areas(request), frontend)
        return wait.run(_seconds(request.get("timeout")))

    async def verify(
        self, address: Address | None, *, repair: bool
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Compare frontends by digest, one after the other; yield a report for each.

        Raises:
            ControlError: if the frontend is unknown.
        """
        replicas = list(self._service.fleet)
        if address is not None:
            found = self._service.fleet.find(address)
            if found is None:
                raise ControlError(f"{address.host}: not one of the frontends")
            replicas = [found]
        for replica in replicas:
            yield (await self._verify_one(replica, repair=repair)).row()

    async def _verify_one(self, replica: Replica, *, repair: bool) -> Report:
        try:
            return await verify(replica, self._context.pool, repair=repair)
        except Exception as error:
            reason, is_bug = sentence(error)
            if is_bug:
                log.exception("verification failed", host=replica.address.host)
            return Report(replica.address.host, error=reason)


def _tolerance(request: dict[str, Any]) -> Tolerance:
    lag, dirty = request.get("max_lag"), request.get("max_dirty")
    good_lag = lag is None or (type(lag) in (int, float) and 0 <= lag < math.inf)
    if not good_lag or type(dirty) not in (int, type(None)):
        raise ControlError("max_lag must be a number of seconds, and max_dirty a number of paths")
    return Tolerance(lag, dirty)


def _areas(request: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    """Return the (source, relative path) pairs of a request."""
    areas = request.get("areas", [])
    pairs = isinstance(areas, list) and all(isinstance(a, list) and len(a) == 2 for a in areas)
    if not pairs or not all(isinstance(text, str) for area in areas for text in area):
        raise ControlError(_NO_AREAS)
    try:
        return [(os.fsencode(source), os.fsencode(path)) for source, path in areas]
    except UnicodeEncodeError as error:  # a surrogate that stands for no byte
        raise ControlError(_NO_AREAS) from error


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
