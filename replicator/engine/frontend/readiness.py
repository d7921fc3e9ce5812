"""The ready files of one frontend, which tell a load balancer's health check that it holds everything.

A ready file names the machine and its boot. A frontend whose file names both was bootstrapped by this backend before: it stays in
service while it is compared after a restart or a short interruption, as long as nothing is found missing. Any other file (from an
image of a running frontend, or from before a power failure) proves nothing, and is removed first of all.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Container
from collections.abc import Set as AbstractSet
from concurrent.futures import Executor
from contextlib import suppress

import structlog

from replicator.core.dirty import DirtySet
from replicator.engine.changes.create import delete_change, next_number
from replicator.engine.context import Context
from replicator.engine.frontend.connection import Connection
from replicator.engine.frontend.peer_lag import PeerLag
from replicator.engine.frontend.resync import ResyncQueue
from replicator.engine.loop import loop_time
from replicator.model import ancestors
from replicator.ports import Catalog
from replicator.wire.changes import MakeDirectory, PutFile, SetAttributes

log = structlog.get_logger()

TICK = 1.0
"""Seconds between two checks of the lag; health checks run less often."""

FILE_MODE = 0o644
DIRECTORY_MODE = 0o755
"""The web server reads the file as another user."""


class RemoteReadyFile:
    """The ready file of one tree on one frontend.

    Args:
        connection: connection to the frontend.
        tree: number of the tree.
        catalog: catalog of the tree; directories that it records are replicated, not created here.
        path: path of the file.
        machine: instance id of the frontend, or its address.
    """

    def __init__(
        self, connection: Connection, tree: int, catalog: Catalog, path: bytes, machine: str
    ) -> None:
        self._connection = connection
        self._tree = tree
        self._catalog = catalog
        self._path = path
        self._without_boot = f"replicator: {machine} holds everything\n".encode()
        boot = f"boot: {connection.agent.boot}\n" if connection.agent.boot else ""
        self._content = self._without_boot + boot.encode()

    async def exists(self) -> bool:
        """Return True if the file exists and names this machine and its present boot.

        A file of an earlier release, without the boot, is replaced; the agent has removed those of earlier boots.
        """
        if await self._holds(self._content):
            return True
        return (
            self._content != self._without_boot
            and await self._holds(self._without_boot)
            and not await self._put()
        )

    async def create(self, pool: Executor) -> str:
        """Create the file and the directories above it; return why that failed, or an empty string."""
        loop = asyncio.get_running_loop()
        above = list(ancestors(self._path))
        known = await loop.run_in_executor(pool, self._catalog.get, above)
        for path in reversed([path for path in above if path not in known]):
            made = MakeDirectory(next_number(), self._tree, path, DIRECTORY_MODE, time.time_ns())
            if reason := await self._connection.ask(made):
                return reason
        return await self._put()

    async def remove(self) -> str:
        """Remove the file; return why that failed, or an empty string."""
        return await self._connection.ask(delete_change(self._tree, self._path))

    async def _holds(self, content: bytes) -> bool:
        digest, now = hashlib.sha256(content).digest(), time.time_ns()
        probe = SetAttributes(
            next_number(), self._tree, self._path, FILE_MODE, len(content), now, 0, digest
        )
        return not await self._connection.ask(probe)

    async def _put(self) -> str:
        content, now = self._content, time.time_ns()
        digest = hashlib.sha256(content).digest()
        put = PutFile(next_number(), self._tree, self._path, FILE_MODE, len(content), now, digest)
        return await self._connection.ask(put, content)


class Readiness:
    """Creates and removes the ready files of all trees on one frontend, for the duration of one connection.

    Args:
        connection: connection to the frontend.
        context: the trees, and their ready files.
        dirty: the dirty paths of the frontend.
        resync: what must be compared again on it.
        opened: the trees that the agent has opened; the caller updates it.
        machine: instance id of the frontend, or its address.
        unknown: returns the trees of which it stays unknown what the frontend lacks, because it is paused.
    """

    def __init__(
        self,
        connection: Connection,
        context: Context,
        dirty: DirtySet,
        resync: ResyncQueue,
        opened: Container[int],
        machine: str,
        unknown: Callable[[], AbstractSet[int]] = frozenset,
    ) -> None:
        self._connection = connection
        self._context = context
        self._dirty = dirty
        self._unknown = unknown
        self._peer_lag = PeerLag(dirty, context)
        self._resync = resync
        self._opened = opened
        self._machine = machine
        self._existing: set[int] = set()
        self._compared: set[int] = set()
        self._incomplete: set[int] = set()
        self._error = ""
        self._changed = asyncio.Event()

    @property
    def ready(self) -> bool | None:
        """Whether all ready files exist; None if none is configured."""
        wanted = {number for number, tree in self._context.trees.items() if tree.ready}
        return self._existing >= wanted if wanted else None

    async def begin(self, now: float) -> None:
        """Remove the ready files that name another machine or boot, or whose frontend lags too much: first of all."""
        files = self._files()
        self._existing = {tree for tree, file in files.items() if await file.exists()}
        for tree, file in files.items():
            if not (tree in self._existing and await self._in_time(now)):
                await self._remove(tree, file)

    def compared(self, tree: int) -> None:
        """Note that a whole tree was compared, and what differed was sent or refused."""
        self._compared.add(tree)
        self._incomplete.discard(tree)
        self._changed.set()

    def incomplete(self, tree: int) -> None:
        """Note that a comparison of whole trees has found something missing."""
        self._incomplete.add(tree)
        self._changed.set()

    def forget(self, tree: int) -> None:
        """Forget a tree that was removed. The frontend keeps its files, including the ready file."""
        for known in (self._existing, self._compared, self._incomplete):
            known.discard(tree)

    async def keep(self) -> None:
        """Create and remove ready files until cancelled."""
        while True:
            self._changed.clear()
            in_time = await self._in_time(loop_time())
            for tree, file in self._files().items():
                wanted = in_time and self._wanted(tree)
                if wanted and tree not in self._existing:
                    await self._create(tree, file)
                elif not wanted and tree in self._existing:
                    await self._remove(tree, file)
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK):
                    await self._changed.wait()

    def _wanted(self, tree: int) -> bool:
        """Return True if a tree's ready file should exist now.

        That depends on this tree, and on all trees that have no ready file of their own.
        """
        without = {number for number, one in self._context.trees.items() if not one.ready}
        needed = {tree, *without}
        if tree in self._existing:
            outdated = self._peer_lag.others_follow(needed & self._unknown())
            return not outdated and not self._peer_lag.misses(needed & self._incomplete)
        if self._dirty.held:  # something is paused, so it would fall behind at once
            return False
        # A frontend that is out of service returns only if it refuses nothing that others accept, and nothing must be compared:
        # when too many paths were dirty, they were dropped, and only the next comparison finds them.
        return (
            needed <= self._compared - self._incomplete
            and all(map(self._resync.is_settled, needed))
            and not self._peer_lag.refuses()
        )

    async def _in_time(self, now: float) -> bool:
        self._peer_lag.update(now)
        lags = [tree.ready.max_lag for tree in self._context.trees.values() if tree.ready]
        return not lags or not await self._peer_lag.lags(now, min(lags), self._context.pool)

    def _files(self) -> dict[int, RemoteReadyFile]:
        return {
            number: RemoteReadyFile(
                self._connection, number, tree.catalog, tree.ready.path, self._machine
            )
            for number, tree in self._context.trees.items()
            if tree.ready and number in self._opened
        }

    async def _create(self, tree: int, file: RemoteReadyFile) -> None:
        reason = await file.create(self._context.pool)
        if not reason and tree in self._opened:
            self._existing.add(tree)
        self._log(reason, "ready")

    async def _remove(self, tree: int, file: RemoteReadyFile) -> None:
        reason = await file.remove()
        self._existing.discard(tree)
        self._log(reason, "not ready")

    def _log(self, error: str, wanted: str) -> None:
        if error and error != self._error:
            log.warning("ready file", machine=self._machine, wanted=wanted, reason=error)
        elif not error:
            log.info("frontend", machine=self._machine, state=wanted)
        self._error = error
