"""A backend with several trees in the test's event loop; its frontends are agents in child processes."""

import asyncio

from replicator.app import App
from replicator.config import parse
from tests.support.backend import LocalFleet
from tests.support.looking import texts
from tests.support.waiting import eventually


class Trees:
    """An App whose trees and frontends a test changes while it runs.

    Attributes:
        app: the backend.
        fleet: the connector; each host has its own directory as file system root.
    """

    def __init__(self, directory, hosts=("one", "two"), connector=None):
        self.directory = directory
        self.hosts = list(hosts)
        self.fleet = connector or LocalFleet(directory)
        self.app = None
        self._running = None
        (directory / "state").mkdir(mode=0o700, exist_ok=True)

    def config(self, *trees, hosts=None, **settings):
        """Return settings for these trees, each given by name or as a dict with `name` and settings."""
        rows = [{"name": tree} if isinstance(tree, str) else dict(tree) for tree in trees]
        raw = {
            "tree": [
                {"source": str(self.source(name)), "target": f"/{name}", **row}
                for row in rows
                for name in [row.pop("name")]
            ],
            "discovery": {"frontends": self.hosts if hosts is None else hosts},
            "state": {"directory": str(self.directory / "state")},
            "settle": {"cooldown": 0.02, "max_wait": 0.5},
            "retry": {"first": 0.05, "cap": 0.5},
            **settings,
        }
        return parse(raw, base=self.directory)

    def source(self, name):
        return self.directory / name

    def make(self, *names, files=3):
        """Create sources with some files."""
        for name in names:
            self.source(name).mkdir(exist_ok=True)
            for number in range(files):
                self.source(name).joinpath(f"f{number}").write_text(name)

    async def start(self, config):
        self.app = App(config, connector=self.fleet)
        await self.app.set_trees(config)
        self.app.set_discovery(config)
        self._running = asyncio.get_running_loop().create_task(self.app.service.run())

    async def stop(self):
        """Stop the service; raise its error if it failed."""
        self.app.service.stop()
        try:
            await self._running
        finally:
            self.app.close()

    def ended(self):
        """True if the service has ended without being stopped."""
        return self._running.done()

    def copy(self, host, name):
        """Return a host's copy of a tree as content by name; empty if the target is missing."""
        return texts(self.fleet.root(host) / name)

    def wanted(self, name):
        return texts(self.source(name))

    async def arrived(self, *names, hosts=None):
        """Wait until the hosts' copies of these trees equal the sources."""
        hosts = self.hosts if hosts is None else hosts

        def equal():
            assert not self.ended(), self._running
            return all(self.copy(h, n) == self.wanted(n) for h in hosts for n in names)

        await eventually(equal, lambda: {h: {n: self.copy(h, n) for n in names} for h in hosts})

    async def status(self):
        return await self.app.requests.status()

    async def state(self, host):
        return next(r["state"] for r in (await self.status())["frontends"] if r["host"] == host)

    def replica(self, host):
        return next((r for r in self.app.service.fleet if r.address.host == host), None)

    async def ask(self, **request):
        """Return all lines of the answer to a control request."""
        return [line async for line in self.app.requests.handle(request)]
