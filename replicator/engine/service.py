"""Runs all parts until told to stop: intakes, fleet, discovery.

Trees and frontends come and go while it runs; each change touches only what changed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import structlog

from replicator.engine.ahead import LANES
from replicator.engine.commons import Commons, Plot
from replicator.engine.fleet import Fleet
from replicator.engine.intake import Intake
from replicator.engine.launching import Launching
from replicator.engine.membership import Membership
from replicator.engine.ready import ReadyFile
from replicator.engine.reconcile import Territory
from replicator.engine.replica import Replica
from replicator.engine.supply import Shelf
from replicator.engine.tree import Tree
from replicator.errors import ReplicatorError
from replicator.model import DIRECTORY, is_below
from replicator.ports import Address, Sighting
from replicator.wire.messages import OpenTree

log = structlog.get_logger()

DRAIN = 8.0
"""Seconds that a stop waits for what is owed to connected frontends; systemd would kill us after 90, people sooner."""


class TreeThreads:
    """The threads that read one tree: a tree that is being scanned, or holds huge files, takes none from the others.

    Args:
        number: the tree's.

    Attributes:
        live: for looks, one at a time, and for what a person asks meanwhile.
        large: for large files, so that no look waits for one.
    """

    def __init__(self, number: int) -> None:
        self.live = ThreadPoolExecutor(2, thread_name_prefix=f"live-{number}")
        self.large = ThreadPoolExecutor(LANES, thread_name_prefix=f"large-{number}")

    def close(self) -> None:
        """End the threads once they have done what they are doing."""
        self.live.shutdown(wait=True)
        self.large.shutdown(wait=True)


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
        self._threads: dict[int, TreeThreads] = {}
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
        threads = TreeThreads(tree.number)
        intake = Intake(
            tree, threads.live, self.fleet.publish, threads.large, self.fleet.trees_changed
        )
        self._threads[tree.number] = threads
        deletions = intake.deletions
        bits = 0o7777 if target.setid else 0o1777
        excluded = partial(_excluded, tree.source.excluded, ready)
        territory = Territory(
            tree=tree.number,
            catalog=tree.catalog,
            excluded=excluded,
            owner=(-1, -1),
            bits=bits,
            delete=lambda: deletions.allowed,
            held=deletions.holds,
            delete_guard=tree.delete_guard,
        )
        self._shelves[tree.number] = Shelf(
            tree.source, tree.catalog, lambda: deletions.allowed, intake.look_again
        )
        self._commons.plots[tree.number] = Plot(intake, target, territory, ready)
        if watch:
            task = asyncio.get_running_loop().create_task(
                intake.run(), name=f"intake {tree.number}"
            )
            self._intakes[tree.number] = task
        self.fleet.trees_changed()
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
        plot = self._commons.plots.pop(number)
        del self._shelves[number]
        for replica in self.fleet:
            replica.forget(number)
        task = self._intakes.pop(number)
        task.cancel()
        plot.intake.tree.source.stop()  # or the task would wait for a huge file to be read
        with suppress(asyncio.CancelledError):
            await task
        self._threads.pop(number).close()

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

    def describe_discovery(self) -> list[dict[str, Any]]:
        """Return a row for each provider that is followed."""
        return self._membership.describe() if self._membership else []

    def describe_launch(self, identity: str) -> str:
        """Return what is being done to put a machine into service; empty if nobody waits for that."""
        return self._launching.describe(identity) if self._launching else ""

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
            for plot in self._commons.plots.values():
                plot.intake.tree.source.stop()  # what is being read ends here, or a task would wait for it
            await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        """Wait for the threads of all trees, and end them."""
        for threads in self._threads.values():
            threads.close()

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

    def summary(self) -> str:
        """Return on one line how many frontends are in which state, and how many trees are halted or paused."""
        states = Counter(replica.state.value for replica in self.fleet)
        intakes = [plot.intake for plot in self._commons.plots.values()]
        stuck = sum(bool(one.halted or one.deletions.paused) for one in intakes)
        told = [f"{count} {state}" for state, count in sorted(states.items())]
        return f"frontends: {', '.join(told) or 'none'}" + (f"; {stuck} trees stand" * bool(stuck))

    def add_frontend(self, address: Address) -> Replica:
        """Add a frontend by hand; it goes to the front of the queue."""
        return self.fleet.add(Sighting(address, "manual"), front=True)


def _excluded(
    excluded: Callable[[bytes, str], bool], ready: ReadyFile | None, path: bytes, kind: str
) -> bool:
    """Return True for what the operator excludes, and for the directories that hold the ready file."""
    return excluded(path, kind) or bool(ready and kind == DIRECTORY and is_below(ready.path, path))
