"""The composition root: the one room that names concrete classes.

It turns a Config into a running Service, with the hands that the engine asks for through `ports`, and turns a reloaded
Config into the smallest change of what runs.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import structlog

from replicator.catalog.sqlite import CatalogStore
from replicator.config import Config, SettleSettings, TreeSettings, parse_address
from replicator.control import server as control
from replicator.control import socket_path
from replicator.core.filters import Filter
from replicator.core.pace import Backoff, TokenBucket
from replicator.core.settle import Settle
from replicator.discovery.static import StaticDiscovery
from replicator.engine.commons import Commons
from replicator.engine.gate import Gate
from replicator.engine.intake import Tree
from replicator.engine.service import Service
from replicator.engine.supply import Shelf, Supply
from replicator.errors import ConfigError, ReplicatorError, SourceError, StateLocked
from replicator.model import printable
from replicator.ports import Address, Connector
from replicator.source.tree import SourceTree
from replicator.transport.ssh import SSHConnector
from replicator.watch.inotify import InotifyWatcher
from replicator.wire.messages import OpenTree

log = structlog.get_logger()

WORKERS = 4
"""Threads for disk and hashing: one for each tree's intake and a few readers; more only fight for the interpreter."""


@contextmanager
def state_lock(directory: Path) -> Iterator[None]:
    """Own a state directory, made if missing, for as long as the context lasts.

    Raises:
        StateLocked: another process owns it.
        ConfigError: it cannot be made or written.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError("state.directory", f"{directory}: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    except BlockingIOError:
        owner = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
        raise StateLocked(
            f"{directory}: another replicator (pid {owner or 'unknown'}) owns this state"
        ) from None
    finally:
        os.close(fd)


class App:
    """One backend: the service, and what it was built from.

    Args:
        config: the settings.
        connector: how frontends are reached; default: SSH.
        compare: see engine.replica.Commons.
    """

    def __init__(
        self, config: Config, *, connector: Connector | None = None, compare: bool = True
    ) -> None:
        self.config = config
        self._ssh = connector
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="worker")
        self._store = CatalogStore.open(Path(config.state.directory) / "catalog.sqlite")
        if self._store.rebuilt:
            log.warning("the catalog was damaged and is made anew", reason=self._store.rebuilt)
        self._shelves: dict[int, Shelf] = {}
        self._numbers: dict[int, TreeSettings] = {}
        self._sources: dict[int, SourceTree] = {}
        self._next_number = 0
        self._commons = Commons(
            connector=connector or SSHConnector(config.ssh),
            plots={},
            supply=Supply(self._shelves),
            pool=self._pool,
            gate=Gate(config.bootstrap.concurrency),
            bucket=TokenBucket(config.bootstrap.bytes_per_second),
            retry=Backoff(config.retry.first, config.retry.cap, random.random),
            connect_timeout=config.ssh.connect_timeout,
            op_timeout=config.ssh.op_timeout,
            compare=compare,
        )
        self.service = Service(self._commons, self._shelves)

    async def set_trees(self, config: Config, *, watch: bool = True) -> None:
        """Replicate the trees of a configuration, and no others; those that are replicated already are not touched.

        Raises:
            ConfigError: a source is missing or no directory; nothing was changed.
        """
        known = set(self._numbers.values())
        missing = [(i, tree) for i, tree in enumerate(config.tree) if tree not in known]
        made = [self._make_tree(i, tree, config.settle) for i, tree in missing]
        for number in [n for n, tree in self._numbers.items() if tree not in config.tree]:
            await self.service.remove_tree(number)
            del self._numbers[number]
            source = self._sources.pop(number)
            source.stop()
            self._pool.submit(source.close)
        for (_, settings), (tree, source, target) in zip(missing, made, strict=True):
            self._numbers[tree.number] = settings
            self._sources[tree.number] = source
            self.service.add_tree(tree, target, watch=watch)

    def _make_tree(
        self, index: int, settings: TreeSettings, settle: SettleSettings
    ) -> tuple[Tree, SourceTree, OpenTree]:
        self._next_number += 1
        number = self._next_number
        root = os.fsencode(settings.source)
        excluded = Filter(settings.exclude)
        try:
            source = SourceTree(root, filter=excluded, multiplier=self._store.multiplier)
        except SourceError as error:
            raise ConfigError(f"tree[{index}].source", str(error)) from error
        source.on_special = lambda path: log.warning("special file left out", path=printable(path))
        tree = Tree(
            number=number,
            root=root,
            source=source,
            catalog=self._store.tree(root),
            make_watcher=lambda: InotifyWatcher(
                root, prune=excluded.excluded, rescan=settle.rescan
            ),
            settle=Settle(cooldown=settle.cooldown, max_wait=settle.max_wait),
            delete=settings.delete,
        )
        target = os.fsencode(settings.target or settings.source)
        return tree, source, OpenTree(number, target, settings.owner, settings.setid)

    def set_frontends(self, addresses: list[Address]) -> None:
        """Follow a fixed list of frontends."""
        self.service.set_discovery(StaticDiscovery(addresses))

    async def reload(self, config: Config) -> None:
        """Change what runs to another configuration, touching only what differs.

        Raises:
            ConfigError: the new one cannot be used; the old one goes on.
        """
        if config.state != self.config.state:
            raise ConfigError(
                "state.directory", "cannot be changed while the daemon runs: restart it"
            )
        await self.set_trees(config)
        if config.ssh != self.config.ssh and self._ssh is None:
            self._commons.connector = SSHConnector(config.ssh)
            self._commons.connect_timeout = config.ssh.connect_timeout
            self._commons.op_timeout = config.ssh.op_timeout
        self._commons.gate.resize(config.bootstrap.concurrency)
        self._commons.bucket.rate = config.bootstrap.bytes_per_second
        self._commons.retry = Backoff(config.retry.first, config.retry.cap, random.random)
        self.set_frontends(frontends_of(config))
        self.config = config

    def close(self) -> None:
        """Release threads, sources and catalog."""
        for source in self._sources.values():
            source.stop()
        self._pool.shutdown(wait=True)
        for source in self._sources.values():
            source.close()
        self._store.close()


def frontends_of(config: Config) -> list[Address]:
    """Return the frontends that a configuration names."""
    return [
        Address(host, user, port)
        for i, text in enumerate(config.discovery.frontends)
        for user, host, port in [parse_address(f"discovery.frontends[{i}]", text)]
    ]


def named_in(config: Config, address: Address) -> Address:
    """Return the frontend that a person means: what the configuration says of that host, if it says anything."""
    for known in frontends_of(config):
        if address.means(known):
            return known
    return address


async def serve(
    config: Config, load: Callable[[], Config], *, connector: Connector | None = None
) -> None:
    """Run the daemon until SIGTERM or SIGINT; SIGHUP loads the configuration anew.

    Raises:
        ReplicatorError: it could not start, or had to end.
    """
    loop = asyncio.get_running_loop()
    with state_lock(Path(config.state.directory)):
        app = App(config, connector=connector)
        try:
            await app.set_trees(config)
            app.set_frontends(frontends_of(config))
            reloads: set[asyncio.Task[None]] = set()

            def reload() -> None:
                task = loop.create_task(_reload(app, load))
                reloads.add(task)
                task.add_done_callback(reloads.discard)

            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, app.service.stop)
            loop.add_signal_handler(signal.SIGHUP, reload)
            async with control.serve(socket_path(config.state.directory), app.service.handle):
                log.info("serving", trees=[t.source for t in config.tree], pid=os.getpid())
                await app.service.run()
            log.info("stopped")
        finally:
            app.close()


async def _reload(app: App, load: Callable[[], Config]) -> None:
    try:
        await app.reload(load())
        log.info("reloaded")
    except ReplicatorError as error:
        log.error("not reloaded", reason=str(error))  # noqa: TRY400  # no bug of ours


@asynccontextmanager
async def alone(config: Config, *, compare: bool = True) -> AsyncIterator[Service]:
    """A service without a daemon: the trees are surveyed once and not watched, and nobody is connected yet.

    Raises:
        StateLocked: a daemon runs after all.
        ReplicatorError: a source is in doubt.
    """
    with state_lock(Path(config.state.directory)):
        app = App(config, compare=compare)
        try:
            await app.set_trees(config, watch=False)
            await app.service.survey_all()
            runner = asyncio.get_running_loop().create_task(app.service.run())
            try:
                yield app.service
            finally:
                app.service.stop()
                await runner
        finally:
            app.close()
