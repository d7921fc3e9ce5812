"""The daemon: runs a pipeline for each tree, the fleet and discovery until it is stopped.

Trees and frontends can be added and removed while it runs; the others are not affected.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import Any

import structlog

from replicator.core.pace import Backoff
from replicator.engine.context import Context
from replicator.engine.fleet.fleet import MANUAL, Fleet
from replicator.engine.fleet.launch_hooks import RESULTS, LaunchHooks
from replicator.engine.fleet.membership import Membership
from replicator.engine.frontend.replica import Replica
from replicator.engine.ingest.pipeline import Pipeline
from replicator.engine.supervision import keep_running
from replicator.engine.threads import TreeThreads
from replicator.engine.tree import Tree
from replicator.errors import ReplicatorError
from replicator.model import printable
from replicator.ports import Address, Candidate

log = structlog.get_logger()

DRAIN = 8.0
"""Seconds that a stop waits until connected frontends have what is dirty. systemd would kill the daemon after 90 s."""


class Service:
    """Runs the engine.

    Args:
        context: what all replicas share.

    Attributes:
        fleet: the frontends.
        pipelines: the pipeline of each tree, by the tree's number.
        retry: delays before a task that has failed is started again.
    """

    def __init__(self, context: Context) -> None:
        self.fleet = Fleet(context)
        self._context = context
        self.pipelines: dict[int, Pipeline] = {}
        self._threads: dict[int, TreeThreads] = {}
        self._tree_tasks: dict[int, asyncio.Task[None]] = {}
        self._membership: Membership | None = None
        self._discovery_task: asyncio.Task[None] | None = None
        self._launch_hooks: LaunchHooks | None = None
        self._launches = Counter(dict.fromkeys(RESULTS, 0))
        self._ending: dict[bytes, asyncio.Task[None]] = {}
        self.retry = Backoff(1.0, 60.0, random.random)
        self._stop = asyncio.Event()
        self._fatal = ""

    def add_tree(self, tree: Tree, *, watch: bool = True) -> Pipeline:
        """Start to replicate a tree. If `watch` is False, the caller scans it."""
        threads = TreeThreads(tree.number)
        pipeline = Pipeline(
            tree,
            threads.live,
            self.fleet.publish,
            threads.large,
            self.fleet.trees_changed,
            partial(self.fleet.compare, tree.number),
            self._locate,
        )
        self._threads[tree.number] = threads
        self.pipelines[tree.number] = pipeline
        self._context.trees[tree.number] = tree
        self.fleet.apply_pauses()
        if watch:
            self._tree_tasks[tree.number] = asyncio.get_running_loop().create_task(
                self._keep_watching(pipeline, self._ending.get(tree.root)),
                name=f"ingest {tree.number}",
            )
        self.fleet.trees_changed()
        return pipeline

    async def _locate(self) -> None:
        """Send all agents the identity of the sources: an agent refuses a target that shares files with one."""
        origin = await self._context.origin()
        for replica in self.fleet:
            replica.sources_moved(origin)

    async def scan_all(self) -> None:
        """Scan every source once, without watching it.

        Raises:
            SourceError: if a source is in doubt.
        """
        for pipeline in self.pipelines.values():
            await pipeline.scan_once()

    def remove_tree(self, number: int) -> asyncio.Task[None]:
        """Stop replicating a tree. The frontends keep its files.

        Returns:
            A task that ends when nothing reads the source any more, so that it may be closed. Only a tree with the same source that
            is added meanwhile waits for it, because a read may last as long as a volume hangs.
        """
        tree = self._context.trees.pop(number)
        del self.pipelines[number]
        self.fleet.apply_pauses()
        for replica in self.fleet:
            replica.remove_tree(number)
        task = self._tree_tasks.pop(number)
        task.cancel()
        tree.source.stop()  # or the task would wait for a huge file to be read
        root = tree.root
        ending = asyncio.get_running_loop().create_task(
            self._end(number, task, self._ending.get(root)), name=f"end of tree {number}"
        )
        self._ending[root] = ending
        ending.add_done_callback(partial(self._ended, root))
        return ending

    async def _end(
        self, number: int, task: asyncio.Task[None], former: asyncio.Task[None] | None
    ) -> None:
        """Wait until nothing reads a removed tree, nor an earlier removed tree with the same source."""
        await asyncio.wait([task, *filter(None, [former])])
        await self._threads[number].end()
        while self._context.reads.is_reading(number):  # noqa: ASYNC110  # an event would have to be set from a worker thread
            await asyncio.sleep(0.05)
        del self._threads[number]

    def _ended(self, root: bytes, ending: asyncio.Task[None]) -> None:
        if self._ending.get(root) is ending:
            del self._ending[root]

    async def _keep_watching(self, pipeline: Pipeline, former: asyncio.Task[None] | None) -> None:
        """Watch a tree until cancelled. Any failure halts the tree, and after a pause it is watched again."""
        if former is not None:
            await asyncio.wait([former])
        name = f"tree {printable(pipeline.tree.root)}"
        await keep_running(pipeline.run, name, pipeline.run_failed, self.retry)

    def set_membership(
        self, membership: Membership, launch_hooks: LaunchHooks | None = None
    ) -> None:
        """Poll these providers from now on, instead of the earlier ones."""
        if self._discovery_task is not None:
            self._discovery_task.cancel()
        if self._launch_hooks is not None:
            self._launch_hooks.close()
            self._launches.update(self._launch_hooks.results)
        self._membership, self._launch_hooks = membership, launch_hooks
        self._discovery_task = asyncio.get_running_loop().create_task(
            keep_running(membership.run, "discovery", membership.failed, self.retry),
            name="discovery",
        )

    def set_members(self, candidates: list[Candidate], drop: bool) -> None:  # noqa: FBT001  # a callback
        """Make the members of the fleet those that discovery found; see `engine.fleet.membership`."""
        self.fleet.set_members(candidates, drop=drop)
        if self._launch_hooks is not None:
            self._launch_hooks.follow(candidates)

    def describe_discovery(self) -> list[dict[str, Any]]:
        """Return a row for each provider."""
        return self._membership.describe() if self._membership else []

    def unknown_members(self) -> list[tuple[str, str]]:
        """Return the providers whose frontends may not all be known, each with the reason."""
        return self._membership.unknown() if self._membership else []

    def describe_launches(self) -> dict[str, int]:
        """Return how many launches have ended since the daemon started, by result."""
        now = self._launch_hooks.results if self._launch_hooks else {}
        return {result: count + now.get(result, 0) for result, count in self._launches.items()}

    def describe_launch(self, identity: str) -> str:
        """Return the state of a machine's launch hook; empty if it has none."""
        return self._launch_hooks.describe(identity) if self._launch_hooks else ""

    def stop(self) -> None:
        """Make `run` drain and return."""
        self._stop.set()

    def fail(self, reason: str) -> None:
        """Make `run` raise an error: the daemon must be restarted."""
        self._fatal = self._fatal or reason
        self._stop.set()

    async def run(self) -> None:
        """Run until `stop`.

        Raises:
            ReplicatorError: if `fail` was called.
        """
        fleet = asyncio.get_running_loop().create_task(self.fleet.run())
        try:
            await self._stop.wait()
            if self._fatal:
                raise ReplicatorError(self._fatal)
            log.info("draining", frontends=len(self.fleet))
            await self.drain(DRAIN)
        finally:
            if self._launch_hooks is not None:
                self._launch_hooks.close()
            tasks = [fleet, *self._tree_tasks.values(), *self._ending.values()]
            tasks += filter(None, [self._discovery_task])
            for task in tasks:
                task.cancel()
            for tree in self._context.trees.values():
                tree.source.stop()  # ends a read of a huge file, for which a task would wait
            await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        """End the threads of all trees. Blocks until their calls have returned.

        If `run` was never called, because the daemon could not start, the tasks of the trees end here: without threads they would fail.
        """
        for task in self._tree_tasks.values():
            task.cancel()
        for threads in self._threads.values():
            threads.close()

    async def drain(self, within: float | None) -> None:
        """Wait until connected frontends have everything that can be sent to them, for at most `within` seconds (None: no limit)."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while not self._drained():  # noqa: ASYNC110  # every connection and every pipeline would have to set one event
                    await asyncio.sleep(0.05)

    def _drained(self) -> bool:
        pending = any(pipeline.pending for pipeline in self.pipelines.values())
        busy = [r for r in self.fleet if r.connection is not None and r.dirty.waiting_or_sent()]
        return not pending and not busy

    def summary(self) -> str:
        """Return one line with the number of frontends in each state that is shown, and of trees that are halted or paused."""
        states = Counter(
            "paused"
            if replica.is_paused
            else "degraded"
            if replica.is_degraded
            else replica.state.value
            for replica in self.fleet
        )
        stopped = sum(
            bool(one.halted or one.deletions.paused or one.tree.pause)
            for one in self.pipelines.values()
        )
        counts = [f"{count} {state}" for state, count in sorted(states.items())]
        return f"frontends: {', '.join(counts) or 'none'}" + (
            f"; {stopped} trees halted or paused" * bool(stopped)
        )

    def add_frontend(self, address: Address) -> Replica:
        """Add a frontend that an operator has named; it goes to the front of the bootstrap queue."""
        return self.fleet.add(Candidate(address, MANUAL), front=True)
