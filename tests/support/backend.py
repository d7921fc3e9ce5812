"""A complete backend in a thread of its own; its frontends are agents in child processes."""

import asyncio
import json
import os
import random
import signal
import threading
import zlib
from contextlib import suppress
from pathlib import Path

from replicator.app import App
from replicator.config import parse
from replicator.demo.trees import difference, fingerprint
from replicator.discovery.static import StaticProvider
from replicator.engine.fleet.membership import Membership
from replicator.ports import Address
from replicator.transport.bundle import agent_code, pack
from tests.support.child_agent import LocalConnector
from tests.support.waiting import FOREVER, wait_for


class LocalFleet:
    """A connector to agents in child processes; each host has its own directory as file system root."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.channels = {}
        self.refused = set()

    def root(self, host: str) -> Path:
        return self.directory / host

    async def connect(self, address, identity=""):
        from replicator.errors import ConnectFailed

        if address.host in self.refused:
            raise ConnectFailed(f"{address.host}: refused by the test")
        self.root(address.host).mkdir(exist_ok=True)
        channel = await LocalConnector(pin_root=str(self.root(address.host))).connect(address)
        self.channels[address.host] = channel
        return channel

    def kill(self, host: str) -> None:
        """Kill a host's agent with SIGKILL, as the kernel's OOM killer would."""
        channel = self.channels.get(host)
        if channel is not None:
            with suppress(ProcessLookupError):
                os.kill(channel.pid, signal.SIGKILL)


class SlowFleet(LocalFleet):
    """Frontends with slow disks, whose agents send keepalive messages often.

    Args:
        directory: parent of the frontends' directories.
        seconds: delay of each write of file content.
        sign: seconds without other messages after which an agent sends a keepalive.
    """

    def __init__(self, directory: Path, seconds: float, sign: float) -> None:
        super().__init__(directory)
        self._prelude = slow_disk(seconds, sign).replace("\n", "\n    ")

    async def connect(self, address, identity=""):
        jail = self.root(address.host)
        jail.mkdir(exist_ok=True)
        start = "    from replicator.agent.main import serve\n"
        source = zlib.decompress(agent_code(str(jail)).partition(b"\n")[2]).decode()
        assert source.count(start) == 1
        code = pack(source.replace(start, f"    {self._prelude}\n{start}"))
        channel = await LocalConnector(code=code).connect(address)
        self.channels[address.host] = channel
        return channel


def slow_disk(seconds: float, sign: float) -> str:
    """Return agent code that delays writes; see SlowFleet."""
    return f"""
import time
from replicator.agent import descriptors, file_writer, server, store, transfer
server.SIGN_OF_LIFE = {sign}
def slow(act):
    return lambda *arguments: (time.sleep({seconds}), act(*arguments))[1]
file_writer.write_all = slow(file_writer.write_all)
transfer.write_all = slow(transfer.write_all)
store.digest_of = lambda fd, between: descriptors.digest_of(fd, slow(between))
"""


class Backend:
    """An App with its own event loop in a thread. Its public methods are called from the test's thread."""

    def __init__(self, directory: Path, hosts=("one", "two"), connector=None, **settings) -> None:
        self.source = directory / "source"
        self.source.mkdir(exist_ok=True)
        self.hosts = list(hosts)
        self.connector = connector or LocalFleet(directory)
        tree = {"source": str(self.source), "target": "/site", **settings.pop("tree", {})}
        raw = {
            "tree": settings.pop("trees", [tree]),
            "discovery": settings.pop("discovery", {"frontends": self.hosts}),
            "state": {"directory": str(directory / "state")},
            "settle": {"cooldown": 0.05, "max_wait": 1.0},
            "retry": {"first": 0.05, "cap": 0.5},
            **settings,
        }
        self.config = parse(raw, base=directory)
        (directory / "state").mkdir(mode=0o700, exist_ok=True)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.app, self._running = self.call(self._begin())

    async def _begin(self):
        app = App(self.config, connector=self.connector)
        await app.set_trees(self.config)
        app.set_discovery(self.config)
        return app, asyncio.get_running_loop().create_task(app.service.run())

    def call(self, coroutine, seconds=FOREVER):
        """Run a coroutine in the backend's event loop, and return its result."""
        return self.begin(coroutine).result(seconds)

    def begin(self, coroutine):
        """Start a coroutine in the backend's event loop; return its `concurrent.futures.Future`."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def soon(self, function, *arguments):
        """Call a function in the backend's event loop."""
        self._loop.call_soon_threadsafe(function, *arguments)

    def serve(self, *hosts):
        """Make these the frontends."""
        service = self.app.service
        provider = StaticProvider([Address(host) for host in hosts])
        membership = Membership([provider], service.set_members, random.random)
        self.soon(service.set_membership, membership)

    def status(self):
        return self.call(self.app.requests.status())

    def row(self, host):
        return next(row for row in self.status()["frontends"] if row["host"] == host)

    def ask(self, **request):
        async def collect():
            return [line async for line in self.app.requests.handle(request)]

        return self.call(collect())

    def site(self, host) -> Path:
        """Path of a host's copy of the tree."""
        return self.connector.root(host) / "site"

    def differences(self):
        return {
            host: paths
            for host in self.hosts
            if (paths := difference(self.source, self.site(host)))
        }

    def quiet(self):
        """Return True if no change is queued, pending or in flight."""
        assert not self._running.done(), self._running
        status = self.status()
        rows = status["frontends"]
        settled = all(row["state"] == "live" and not row["dirty"] for row in rows)
        return (
            settled
            and len(rows) == len(self.hosts)
            and not any(tree["pending"] for tree in status["trees"])
        )

    def wait_until_equal(self, seconds=FOREVER):
        """Wait until every host's copy equals the source in type, mode, modification time and content."""

        def equal():
            return (
                all(self.site(host).is_dir() for host in self.hosts)
                and self.quiet()
                and not self.differences()
            )

        wait_for(equal, self.explain, seconds, pause=0.02)

    def explain(self):
        """Return the differences between source, catalog and frontends as text."""
        (pipeline,) = self.app.service.pipelines.values()
        source = fingerprint(self.source)
        lines = []
        for host, paths in self.differences().items():
            there = fingerprint(self.site(host))
            for path in paths:
                record = pipeline.tree.catalog.get([os.fsencode(path)])
                lines += [
                    f"{host} {path!r}:",
                    f"  source   {source.get(path)}",
                    f"  frontend {there.get(path)}",
                ]
                lines.append(f"  catalog  {list(record.values())}")
        return "\n".join([*lines, json.dumps(self.status(), indent=1)])

    def explain_status(self):
        """Return the status as text."""
        return json.dumps(self.status(), indent=1)

    def stop(self):
        """Send pending changes, and end the thread."""

        async def end():
            self.app.service.stop()
            await self._running
            self.app.close()

        try:
            self.call(end())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
