"""Runs all parts until told to stop: intakes, fleet, discovery.

Trees and frontends come and go while it runs; each change touches only what changed.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import structlog

from replicator.core.pace import Backoff
from replicator.engine.context import Context
from replicator.engine.fleet.fleet import MANUAL, Fleet
from replicator.engine.fleet.launch_hooks import LaunchHooks
from replicator.engine.fleet.membership import Membership
from replicator.engine.frontend.replica import Replica
from replicator.engine.ingest.background import LANES
from replicator.engine.ingest.pipeline import Pipeline
from replicator.engine.supervision import keep_running
from replicator.engine.tree import Tree
from replicator.errors import ReplicatorError
from replicator.model import printable
from replicator.ports import Address, Candidate

log = structlog.get_logger()

DRAIN = 8.0
"""Seconds that a stop waits for what is owed to connected frontends; systemd would kill us after 90, people sooner."""


def started_pool(threads: int, name: str) -> ThreadPoolExecutor:
    """Return a pool whose threads run already, so that it needs none when the system gives no more.

    For a call that comes then, a pool would start a thread, fail, and yet run the call later, when nobody takes its result.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    all_run = threading.Barrier(threads)
    try:
        for _ in range(threads):
            pool.submit(all_run.wait)
    except RuntimeError:  # with fewer threads it works, too
        all_run.abort()
    return pool


class TreeThreads:
    """The threads that read one tree: a tree that is being scanned, or holds huge files, takes none from the others.

    Args:
        number: the tree's.

    Attributes:
        live: for looks, one at a time, and for what a person asks meanwhile.
        large: for large files, so that no look waits for one.
    """

    def __init__(self, number: int) -> None:
        self.live = started_pool(2, f"live-{number}")
        self.large = started_pool(LANES, f"large-{number}")

    async def ended(self) -> None:
        """Let the threads end, and wait until they have done what they are doing."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def tell() -> None:
            if not done.done():
                done.set_result(None)

        def wait() -> None:
            self.close()
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(tell)

        threading.Thread(target=wait, name="end-of-tree", daemon=True).start()
        await done

    def close(self) -> None:
        """End the threads once they have done what they are doing."""
        self.live.shutdown(wait=True)
        self.large.shutdown(wait=True)


class Service:
    """The whole engine.

    Args:
        context: what all replicas share.

    Attributes:
        fleet: the frontends.
        pipelines: what reads each tree, by its number.
    """

    def __init__(self, context: Context) -> None:
        self.fleet = Fleet(context)
        self._context = context
        self.pipelines: dict[int, Pipeline] = {}
        self._threads: dict[int, TreeThreads] = {}
        self._watching: dict[int, asyncio.Task[None]] = {}
        self._membership: Membership | None = None
        self._asking: asyncio.Task[None] | None = None
        self._launching: LaunchHooks | None = None
        self._ending: dict[bytes, asyncio.Task[None]] = {}
        self._pauses = Backoff(1.0, 60.0, random.random)
        self._stop = asyncio.Event()
        self._failure = ""

    def add_tree(self, tree: Tree, *, watch: bool = True) -> Pipeline:
        """Begin to replicate a tree; with `watch` off, the caller scans it."""
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
        if watch:
            self._watching[tree.number] = asyncio.get_running_loop().create_task(
                self._follow(pipeline, self._ending.get(tree.root)), name=f"ingest {tree.number}"
            )
        self.fleet.trees_changed()
        return pipeline

    async def _locate(self) -> None:
        """Tell all agents where the sources are: a target must not share files with one."""
        origin = await self._context.origin()
        for replica in self.fleet:
            replica.sources_moved(origin)

    async def scan_all(self) -> None:
        """Bring every tree's catalog up to its source, without watching.

        Raises:
            SourceError: a source is in doubt.
        """
        for pipeline in self.pipelines.values():
            await pipeline.scan_once()

    def remove_tree(self, number: int) -> asyncio.Task[None]:
        """Stop replicating a tree; frontends keep what they have.

        Returns:
            A task that ends when nothing reads the source any more, so that it may be closed. A tree with the same source that
            is added meanwhile waits for it; nobody else does, because a read may last for as long as a volume hangs.
        """
        tree = self._context.trees.pop(number)
        del self.pipelines[number]
        for replica in self.fleet:
            replica.forget(number)
        task = self._watching.pop(number)
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
        """Wait for all that reads a removed tree, and for a former one with the same source."""
        await asyncio.wait([task, *filter(None, [former])])
        await self._threads[number].ended()
        while self._context.reader.is_reading(number):  # noqa: ASYNC110  # a thread would have to wake the loop each time
            await asyncio.sleep(0.05)
        del self._threads[number]

    def _ended(self, root: bytes, ending: asyncio.Task[None]) -> None:
        if self._ending.get(root) is ending:
            del self._ending[root]

    async def _follow(self, pipeline: Pipeline, former: asyncio.Task[None] | None) -> None:
        """Watch a tree until cancelled. A failure of any type halts the tree, which is then watched anew."""
        if former is not None:
            await asyncio.wait([former])
        name = f"tree {printable(pipeline.tree.root)}"
        await keep_running(pipeline.run, name, pipeline.broken, self._pauses)

    def set_membership(self, membership: Membership, launching: LaunchHooks | None = None) -> None:
        """Follow other providers from now on."""
        if self._asking is not None:
            self._asking.cancel()
        if self._launching is not None:
            self._launching.close()
        self._membership, self._launching = membership, launching
        self._asking = asyncio.get_running_loop().create_task(
            keep_running(membership.run, "discovery", membership.failed, self._pauses),
            name="discovery",
        )

    def join(self, candidates: list[Candidate], drop: bool) -> None:  # noqa: FBT001  # a callback
        """Make the fleet what the providers say; see engine.membership."""
        self.fleet.set_members(candidates, drop=drop)
        if self._launching is not None:
            self._launching.follow(candidates)

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
            ReplicatorError: `fail` was called.
        """
        fleet = asyncio.get_running_loop().create_task(self.fleet.run())
        try:
            await self._stop.wait()
            if self._failure:
                raise ReplicatorError(self._failure)
            log.info("draining", frontends=len(self.fleet))
            await self.drain(DRAIN)
        finally:
            if self._launching is not None:
                self._launching.close()
            tasks = [fleet, *self._watching.values(), *self._ending.values()]
            tasks += filter(None, [self._asking])
            for task in tasks:
                task.cancel()
            for tree in self._context.trees.values():
                tree.source.stop()  # what is being read ends here, or a task would wait for it
            await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        """Wait for the threads of all trees, and end them."""
        for threads in self._threads.values():
            threads.close()

    async def drain(self, within: float | None) -> None:
        """Wait, at most so many seconds, until connected frontends have what can be sent to them."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while not self._drained():  # noqa: ASYNC110  # dozens of owners would have to set one event
                    await asyncio.sleep(0.05)

    def _drained(self) -> bool:
        pending = any(pipeline.pending for pipeline in self.pipelines.values())
        busy = [r for r in self.fleet if r.link is not None and r.dirty.waiting_or_sent()]
        return not pending and not busy

    def summary(self) -> str:
        """Return on one line how many frontends are in which state, and how many trees are halted or paused."""
        states = Counter(replica.state.value for replica in self.fleet)
        stuck = sum(bool(one.halted or one.deletions.paused) for one in self.pipelines.values())
        told = [f"{count} {state}" for state, count in sorted(states.items())]
        return f"frontends: {', '.join(told) or 'none'}" + (f"; {stuck} trees stand" * bool(stuck))

    def add_frontend(self, address: Address) -> Replica:
        """Add a frontend by hand; it goes to the front of the queue."""
        return self.fleet.add(Candidate(address, MANUAL), front=True)
