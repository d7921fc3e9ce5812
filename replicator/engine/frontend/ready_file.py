"""The ready file: there while a frontend holds everything, so that a load balancer's health check can tell.

What it says names the machine and its boot. A frontend whose file names both was filled by us before: it stays in service while
it is compared after a restart or a short cut, as long as nothing is found wrong. Any other file (a machine image was made from a
running frontend, say, or its power was cut) proves nothing, and goes before anything else happens.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from concurrent.futures import Executor

from replicator.engine.changes.create import delete_path, next_number
from replicator.engine.frontend.connection import Connection
from replicator.model import ancestors
from replicator.ports import Catalog
from replicator.wire.changes import MakeDirectory, PutFile, SetAttributes

FILE_MODE = 0o644
DIRECTORY_MODE = 0o755
"""The web server reads it as somebody else."""


class Marker:
    """One tree's ready file on one frontend.

    Args:
        link: to the frontend.
        tree: number of the tree.
        catalog: of the tree; directories that it knows are none of ours.
        path: the file.
        machine: who the frontend is: an instance id, or else its address.
    """

    def __init__(
        self, link: Connection, tree: int, catalog: Catalog, path: bytes, machine: str
    ) -> None:
        self._link = link
        self._tree = tree
        self._catalog = catalog
        self._path = path
        self._unbooted = f"replicator: {machine} holds everything\n".encode()
        boot = f"boot: {link.boot}\n" if link.boot else ""
        self._content = self._unbooted + boot.encode()

    async def is_there(self) -> bool:
        """Return True if the file is there, names this machine, and was written in this boot of it.

        One that a release wrote which did not name the boot is written anew; the agent has removed those of other boots.
        """
        if await self._holds(self._content):
            return True
        return (
            self._content != self._unbooted
            and await self._holds(self._unbooted)
            and not await self._put()
        )

    async def write(self, pool: Executor) -> str:
        """Make it; return why that failed, or nothing."""
        loop = asyncio.get_running_loop()
        above = list(ancestors(self._path))
        known = await loop.run_in_executor(pool, self._catalog.get, above)
        for path in reversed([path for path in above if path not in known]):
            made = MakeDirectory(next_number(), self._tree, path, DIRECTORY_MODE, time.time_ns())
            if reason := await self._link.ask(made):
                return reason
        return await self._put()

    async def remove(self) -> str:
        """Remove it; return why that failed, or nothing."""
        return await self._link.ask(delete_path(self._tree, self._path))

    async def _holds(self, content: bytes) -> bool:
        digest, now = hashlib.sha256(content).digest(), time.time_ns()
        probe = SetAttributes(
            next_number(), self._tree, self._path, FILE_MODE, len(content), now, 0, digest
        )
        return not await self._link.ask(probe)

    async def _put(self) -> str:
        content, now = self._content, time.time_ns()
        digest = hashlib.sha256(content).digest()
        put = PutFile(next_number(), self._tree, self._path, FILE_MODE, len(content), now, digest)
        return await self._link.ask(put, content)
