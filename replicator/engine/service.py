"""Runs all parts until told to stop: intakes, fleet, discovery, and the answers to what people ask.

Trees and frontends come and go while it runs; each change touches only what changed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import structlog

from replicator.core.lifecycle import State
from replicator.engine.commons import Commons, Plot
from replicator.engine.fleet import Fleet
from replicator.engine.intake import Intake, Tree
from replicator.engine.launching import Launching
from replicator.engine.membership import Membership
from replicator.engine.ready import ReadyFile
from replicator.engine.reconcile import Territory
from replicator.engine.replica import Replica
from replicator.engine.status import describe, describe_frontend
from replicator.engine.supply import Shelf
from replicator.engine.verify import Report, verify
from replicator.errors import ControlError, ReplicatorError
from replicator.model import DIRECTORY, is_below, printable
from replicator.ports import Address, Sighting
from replicator.wire.messages import OpenTree

log = structlog.get_logger()

DRAIN = 8.0
"""Seconds that a stop waits for what is owed to connected frontends; systemd would kill us after 90, people sooner."""

PROGRESS = 0.2
"""Seconds between two progress lines to a person who waits."""


class Service:
    """The whole engine.

    Args:
        commons: what all replicas share.
        shelves: where the supply finds the trees; kept up to date here.
    """

    def __init__(self, commons: Commons, shelves: dict[int, Shelf]) -> None:
        self.fleet = Fleet(commons)
        self._commons = commons
        self._shelves = shelves
        self._intakes: dict[int, asyncio.Task[None]] = {}
        self._membership: Membership | None = None
        self._asking: asyncio.Task[None] | None = None
        self._launching: Launching | None = None
        self._stop = asyncio.Event()
        self._failure = ""

    def add_tree(
        self,
        tree: Tree,
        target: OpenTree,
        *,
        ready: ReadyFile | None = None,
        watch: bool = True,
    ) -> Intake:
        """Begin to replicate a tree; with `watch` off, the caller surveys it."""
        intake = Intake(tree, self._commons.live, self.fleet.publish)
        bits = 0o7777 if target.setid else 0o1777
        excluded = partial(_excluded, tree.source.excluded, ready)
        territory = Territory(
            tree=tree.number,
            catalog=tree.catalog,
            excluded=excluded,
            owner=(-1, -1),
            bits=bits,
            delete=lambda: intake.sweeps,
            delete_guard=tree.delete_guard,
        )
        self._shelves[tree.number] = Shelf(
            tree.source, tree.catalog, lambda: intake.deletes, intake.look_again
        )
        self._commons.plots[tree.number] = Plot(intake, target, territory, ready)
        if watch:
            task = asyncio.get_running_loop().create_task(
                intake.run(), name=f"intake {tree.number}"
            )
            self._intakes[tree.number] = task
        for replica in self.fleet:
            replica.reconcile_soon()
        return intake

    async def survey_all(self) -> None:
        """Bring every tree's catalog up to its source, without watching.

        Raises:
            SourceError: a source is in doubt.
        """
        for plot in self._commons.plots.values():
            await plot.intake.survey_once()

    async def remove_tree(self, number: int) -> None:
        """Stop replicating a tree; frontends keep what they have."""
        del self._commons.plots[number], self._shelves[number]
        task = self._intakes.pop(number)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    def set_membership(self, membership: Membership, launching: Launching | None = None) -> None:
        """Follow other providers from now on."""
        if self._asking is not None:
            self._asking.cancel()
        if self._launching is not None:
            self._launching.close()
        self._membership, self._launching = membership, launching
        self._asking = asyncio.get_running_loop().create_task(membership.run(), name="discovery")

    def join(self, sightings: list[Sighting], drop: bool) -> None:  # noqa: FBT001  # a callback
        """Make the fleet what the providers say; see engine.membership."""
        self.fleet.set_roster(sightings, drop=drop)
        if self._launching is not None:
            self._launching.follow(sightings)

    def stop(self) -> None:
        """Drain, and make `run` return."""
        self._stop.set()

    def fail(self, reason: str) -> None:
        """Make `run` raise: nothing but a new start helps."""
        self._failure = self._failure or reason
        self._stop.set()

    async def run(self) -> None:
        """Run until `stop`.

        Raises:
            ReplicatorError: `fail` was called, or some part ended by itself, which is a bug of ours.
        """
        fleet = asyncio.get_running_loop().create_task(self.fleet.run())
        stop = asyncio.get_running_loop().create_task(self._stop.wait())
        try:
            while not stop.done():
                eternal = [fleet, *self._intakes.values(), *filter(None, [self._asking])]
                done, _ = await asyncio.wait(
                    [stop, *eternal], timeout=1.0, return_when=asyncio.FIRST_COMPLETED
                )
                self._check_eternal(done - {stop})
            if self._failure:
                raise ReplicatorError(self._failure)
            log.info("draining", frontends=len(self.fleet))
            await self.drain(DRAIN)
        finally:
            if self._launching is not None:
                self._launching.close()
            tasks = [fleet, stop, *self._intakes.values(), *filter(None, [self._asking])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _check_eternal(self, done: set[asyncio.Task[Any]]) -> None:
        """A task that must not end has ended: say which, at once."""
        for task in done:
            if not task.cancelled():
                raise ReplicatorError(f"{task.get_name()} ended by itself") from task.exception()

    async def drain(self, within: float | None) -> None:
        """Wait, at most so many seconds, until connected frontends have what can be sent to them."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while not self._drained():  # noqa: ASYNC110  # dozens of owners would have to set one event
                    await asyncio.sleep(0.05)

    def _drained(self) -> bool:
        pending = any(plot.intake.pending for plot in self._commons.plots.values())
        busy = [r for r in self.fleet if r.link is not None and r.dirty.waiting_or_sent()]
        return not pending and not busy

    async def handle(self, request: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Answer a request of the control socket, in one or more lines.

        Raises:
            ControlError: it cannot be answered; one sentence.
        """
        command = request.get("command")
        if command == "status":
            yield await self.status()
        elif command == "bootstrap":
            async for line in self.bootstrap(_address(request)):
                yield line
        elif command == "verify":
            address = _address(request) if request.get("host") else None
            async for line in self.verify(address, repair=bool(request.get("repair"))):
                yield line
        elif command == "resume":
            for row in await self.resume():
                yield row
        else:
            raise ControlError(f"unknown command {command!r}")

    async def status(self) -> dict[str, Any]:
        """Return what `status --json` prints."""
        loop = asyncio.get_running_loop()
        trees = []
        for plot in list(self._commons.plots.values()):
            counts = await loop.run_in_executor(self._commons.pool, plot.intake.tree.catalog.counts)
            trees.append((plot.intake, counts))
        return describe(
            self.fleet,
            trees,
            self._launching.describe if self._launching else lambda _: "",
            bootstrapping=self._commons.gate.inside,
            discovery=self._membership.describe() if self._membership else [],
        )

    def summary(self) -> str:
        """Return on one line how many frontends are in which state, and how many trees are halted or paused."""
        states = Counter(replica.state.value for replica in self.fleet)
        stuck = sum(bool(p.intake.halted or p.intake.paused) for p in self._commons.plots.values())
        told = [f"{count} {state}" for state, count in sorted(states.items())]
        return f"frontends: {', '.join(told) or 'none'}" + (f"; {stuck} trees stand" * bool(stuck))

    async def resume(self) -> list[dict[str, Any]]:
        """Confirm all deletions that wait, and sources that are in doubt; return a row for each tree and frontend with such."""
        rows = []
        for plot in list(self._commons.plots.values()):
            reason = plot.intake.halted or plot.intake.paused
            if reason:
                rows.append({"what": printable(plot.intake.tree.root), "reason": reason})
                await plot.intake.resume()
        doubted = bool(rows)
        for replica in self.fleet:
            if replica.excess:
                rows.append({"what": replica.address.host, "reason": replica.excess})
            if replica.excess or doubted:
                replica.confirm()
        return rows

    def add_frontend(self, address: Address) -> Replica:
        """Add a frontend by hand; it goes to the front of the queue."""
        return self.fleet.add(Sighting(address, "manual"), front=True)

    async def bootstrap(self, address: Address) -> AsyncGenerator[dict[str, Any], None]:
        """Fill one frontend now, whether discovery names it or not; yield its row until it is done.

        Raises:
            ControlError: it cannot be reached, or something could not be sent.
        """
        replica = self.fleet.find(address)
        added = replica is None
        if replica is None:
            replica = self.add_frontend(address)
        before = replica.reconciled
        failures = replica.failures
        replica.reconcile_soon(front=True)
        try:
            while replica.reconciled == before or replica.state is not State.LIVE:
                if replica.state is State.RETRYING and replica.failures > failures:
                    raise ControlError(replica.complaint)
                if replica.state is State.GONE:
                    raise ControlError(f"{address.host}: it left while it was filled")
                yield describe_frontend(replica, halted=False)
                await replica.changed(PROGRESS)
            yield describe_frontend(replica, halted=False) | {"finished": True}
        finally:
            if added and self.fleet.find(address) is replica:
                self.fleet.remove(replica.address)

    async def verify(
        self, address: Address | None, *, repair: bool
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Compare frontends by digest, one after the other; yield a report for each.

        Raises:
            ControlError: the frontend is unknown.
        """
        replicas = list(self.fleet)
        if address is not None:
            found = self.fleet.find(address)
            if found is None:
                raise ControlError(f"{address.host}: not one of the frontends")
            replicas = [found]
        for replica in replicas:
            yield (await self._verify_one(replica, repair=repair)).row()

    async def _verify_one(self, replica: Replica, *, repair: bool) -> Report:
        try:
            return await verify(replica, self._commons.pool, repair=repair)
        except ReplicatorError as error:
            return Report(replica.address.host, error=str(error))


def _excluded(
    excluded: Callable[[bytes, str], bool], ready: ReadyFile | None, path: bytes, kind: str
) -> bool:
    """Return True for what the operator excludes, and for the directories that hold the ready file."""
    return excluded(path, kind) or bool(ready and kind == DIRECTORY and is_below(ready.path, path))


def _address(request: dict[str, Any]) -> Address:
    host, user, port = request.get("host"), request.get("user", ""), request.get("port", 0)
    if (
        not isinstance(host, str)
        or not host
        or not isinstance(user, str)
        or not isinstance(port, int)
    ):
        raise ControlError("the request names no host")
    return Address(host, user, port)
