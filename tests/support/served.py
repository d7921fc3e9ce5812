"""A service over fakes, and requests to it."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from replicator.engine.control.requests import Requests
from replicator.engine.service import Service
from tests.support.fakes.watcher import FakeWatcher
from tests.support.frontends import Backdrop
from tests.support.source_state import fake_tree
from tests.support.waiting import eventually


class Served(Backdrop):
    """A service with one tree.

    Attributes:
        service, tree, pipeline, requests: the real objects over fakes.
        watcher: the tree's watcher.
    """

    def __init__(self, pool):
        super().__init__(pool)
        self.context.trees.clear()
        self.service = Service(self.context)
        self.watcher = FakeWatcher()
        self.tree = fake_tree(self.source, self.catalog, make_watcher=lambda: self.watcher)
        self.pipeline = self.service.add_tree(self.tree)
        self.requests = Requests(self.service, self.context)

    async def ask(self, command, **more):
        """Return the last line of the answer to a request; None if there is none."""
        rows = [row async for row in self.requests.handle({"command": command, **more})]
        return rows[-1] if rows else None

    async def wait(self, *areas, timeout=30, **more):
        return await self.ask("wait", areas=[*map(list, areas)], timeout=timeout, **more)

    @classmethod
    @asynccontextmanager
    async def running(cls):
        """Yield one whose source was scanned; it runs until the context ends."""
        with ThreadPoolExecutor(2) as pool:
            made = cls(pool)
            task = asyncio.get_running_loop().create_task(made.service.run())
            await eventually(made.pipeline.scanned.is_set, "the scan")
            yield made
            task.cancel()
            await asyncio.wait([task])
            made.service.close()
