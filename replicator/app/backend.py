"""Build the service from the settings, and apply reloaded settings with as few changes as possible."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from functools import partial
from pathlib import Path

import structlog

from replicator.app import hooks
from replicator.app.base import publisher_of
from replicator.app.origin import Origins
from replicator.app.paused import open_paused
from replicator.app.providers import host_key_policy, launch_hooks_of, providers_of
from replicator.app.retired import Retired
from replicator.app.targets import open_targets
from replicator.app.trees import Made, TreeBuilder, close
from replicator.app.verified import open_verified
from replicator.base.publisher import Publisher
from replicator.catalog.store import CatalogStore
from replicator.config import Config, TreeSettings
from replicator.core.pace import Backoff, TokenBucket
from replicator.discovery.aws.client import Aws
from replicator.discovery.member_file import MemberFile
from replicator.engine.bandwidth import Bandwidth
from replicator.engine.bootstrap_queue import BootstrapQueue
from replicator.engine.changes.large_files import LargeFiles
from replicator.engine.changes.reader import ContentReader
from replicator.engine.changes.tree_reads import TreeReads
from replicator.engine.context import Context
from replicator.engine.control.requests import Requests
from replicator.engine.control.scheduled import ScheduledVerification
from replicator.engine.fleet.membership import Membership
from replicator.engine.service import Service
from replicator.engine.supervision import keep_running
from replicator.engine.threads import started_pool
from replicator.engine.tree import Tree
from replicator.errors import ConfigError
from replicator.ports import Candidate, Connector
from replicator.source.tree import SourceTree
from replicator.transport.ssh import SSHConnector

log = structlog.get_logger()

BULK_THREADS = 3
"""Threads that read files for bootstraps and lagging frontends. More threads only contend for the interpreter lock."""


class App:
    """One backend: the service, the request handler of the control socket, and the settings in force.

    Must be created in a running event loop.

    Args:
        config: the settings.
        connector: connects to frontends; default: SSH.
        compare: see engine.context.Context.
    """

    def __init__(
        self, config: Config, *, connector: Connector | None = None, compare: bool = True
    ) -> None:
        self.config = config
        paused = open_paused(Path(config.state.directory) / "pauses.json")
        self._ssh = connector
        self._pool = started_pool(BULK_THREADS, "bulk")
        self._store = CatalogStore.open(Path(config.state.directory) / "catalog.sqlite")
        if self._store.rebuilt:
            log.warning("the catalog was damaged and is rebuilt", reason=self._store.rebuilt)
        self._numbers: dict[int, TreeSettings] = {}
        self._sources: dict[int, SourceTree] = {}
        self._builder = TreeBuilder(self._store, lambda: self.config.settle.rescan)
        self._aws: Aws | None = None
        self._console_aws = self._make_aws(config)
        self._discovering: object = None
        self.publisher: Publisher | None = None
        self._publishing: asyncio.Task[None] | None = None
        self._based: object = None
        self._origins = Origins(self.roots)
        self.retired = Retired(self._store, self.roots)
        trees: dict[int, Tree] = {}
        reads = TreeReads(trees)
        self._context = Context(
            connector=connector or self._make_connector(config, self._console_aws),
            trees=trees,
            reads=reads,
            reader=ContentReader(reads),
            large_files=LargeFiles(reads),
            pool=self._pool,
            bootstrap_queue=BootstrapQueue(config.bootstrap.concurrency),
            bucket=TokenBucket(config.bootstrap.bytes_per_second),
            bandwidth=Bandwidth(config.ssh.bytes_per_second),
            retry=Backoff(config.retry.first, config.retry.cap, random.random),
            connect_timeout=config.ssh.connect_timeout,
            op_timeout=config.ssh.op_timeout,
            compare=compare,
            origin=self._origins.now,
            targets=open_targets(Path(config.state.directory) / "targets.json"),
            verified=open_verified(Path(config.state.directory) / "verified.json"),
            paused=paused,
        )
        self.service = Service(self._context)
        self.requests = Requests(self.service, self._context)
        self.events = self._context.events
        self.hooks = hooks.Hooks(self.events)
        self.requests.describe_hooks = self.hooks.describe
        self.verification = ScheduledVerification(self.service, self.requests.verifier)
        self.verification.use(config.verify)
        self.requests.describe_schedule = self.verification.describe
        loop = asyncio.get_running_loop()
        # A damaged catalog ends the daemon, because the next start rebuilds it. The callback is called from other threads.
        self._store.on_damage = lambda reason: loop.call_soon_threadsafe(self.service.fail, reason)

    async def set_trees(self, config: Config, *, watch: bool = True) -> None:
        """Replicate exactly the trees of a configuration; trees with unchanged settings are not touched.

        Args:
            config: the settings.
            watch: True to watch the sources. A missing source then halts its tree until the source exists.

        Raises:
            ConfigError: if `tree.trust` names an unknown user, or a source is missing and `watch` is False. Nothing is changed.
        """
        self._follow_trees(config, self._build(config, watch=watch), watch=watch)

    def roots(self) -> list[bytes]:
        """Return the source directories of the replicated trees."""
        return [os.fsencode(tree.source) for tree in self._numbers.values()]

    def _build(self, config: Config, *, watch: bool) -> list[Made]:
        known = set(self._numbers.values())
        return self._builder.build(config, known, self._numbers, must_exist=not watch)

    def _follow_trees(self, config: Config, made: list[Made], *, watch: bool) -> None:
        """Remove the trees that are not in a configuration, and add the built ones.

        Must neither fail nor wait: a reload calls this as its last step, after everything that can fail.
        """
        for number in [n for n, tree in self._numbers.items() if tree not in config.tree]:
            del self._numbers[number]
            ending = self.service.remove_tree(number)
            ending.add_done_callback(partial(_close_source, self._sources.pop(number)))
        for one in made:
            self._numbers[one.tree.number] = one.settings
            self._sources[one.tree.number] = one.source
            self.service.add_tree(one.tree, watch=watch)
        self.retired.configured(self.roots())

    def set_discovery(self, config: Config) -> None:
        """Serve the frontends that the configured providers return; do nothing if the discovery settings are unchanged."""
        if config.discovery == self._discovering:
            return
        aws, former = self._make_aws(config), self._aws
        store = MemberFile(Path(config.state.directory) / "roster.json")
        membership = Membership(
            providers_of(config, aws), self.service.set_members, random.random, store
        )
        launch_hooks = launch_hooks_of(
            config, aws, self.service.fleet, self._pool, self._context.retry
        )
        self.service.set_membership(membership, launch_hooks)
        self._aws, self._discovering = aws, config.discovery
        if former is not None:
            former.close()

    def set_hooks(self, config: Config) -> None:
        """Run the configured hooks.

        Raises:
            ConfigError: if one does not exist. Nothing is changed.
        """
        hooks.check(config.hook)
        self.hooks.start(config.hook)

    def set_base(self, config: Config) -> None:
        """Publish the base that the settings ask for; do nothing if they are unchanged.

        Raises:
            ReplicatorError: if the state directory cannot be written.
        """
        wanted = config.base, config.discovery.give_up
        if wanted == self._based:
            return
        publisher = publisher_of(config, self._context.trees.values)
        former, self.publisher, self._based = self.publisher, publisher, wanted
        self._context.base = publisher.offers if publisher else None
        self.requests.publisher = publisher
        if self._publishing is not None:
            self._publishing.cancel()
            self._publishing = None
        if former is not None:
            former.stop()
            # In a thread, because it waits for a request that hangs; `stop` has cancelled the tasks, which is not possible there.
            threading.Thread(target=former.close, name="base-end", daemon=True).start()
        if publisher is not None:
            self._publishing = asyncio.get_running_loop().create_task(
                keep_running(
                    publisher.run, "base", publisher.failed, Backoff(10.0, 600.0, random.random)
                ),
                name="base",
            )

    def _make_aws(self, config: Config) -> Aws:
        return Aws(region=config.discovery.region, endpoint_url=config.discovery.endpoint_url)

    def _make_connector(self, config: Config, aws: Aws) -> Connector:
        """Return a connector for the `ssh` settings; it asks for consoles through `aws`."""

        def members() -> list[Candidate]:
            return [replica.candidate for replica in self.service.fleet]

        def sent(size: int) -> None:
            self._context.bandwidth.spent(size)

        return SSHConnector(config.ssh, host_key_policy(config, aws, members), sent=sent)

    def _replace_connector(self, connector: Connector, aws: Aws) -> None:
        self._context.connector = connector
        self._console_aws.close()
        self._console_aws = aws

    async def reload(self, config: Config) -> None:
        """Apply another configuration, changing only what differs.

        Contains no await, so that concurrent calls are applied one after the other, and the last one wins.

        Raises:
            ConfigError: if the new configuration cannot be used. The old one stays in force.
        """
        if config.control != self.config.control:
            raise ConfigError(
                "control.group", "cannot be changed while the daemon runs: restart it"
            )
        if config.state != self.config.state:
            raise ConfigError(
                "state.directory", "cannot be changed while the daemon runs: restart it"
            )
        hooks.check(config.hook)
        made = self._build(config, watch=True)
        aws = self._make_aws(config)
        try:
            connector = self._make_connector(config, aws)
            self.set_discovery(config)
        except BaseException:
            close(made)
            aws.close()
            raise
        if config.ssh != self.config.ssh and self._ssh is None:
            self._replace_connector(connector, aws)
        else:
            aws.close()
        self._follow_trees(config, made, watch=True)
        self.hooks.start(config.hook)
        self.set_base(config)
        self.verification.use(config.verify)
        self._context.connect_timeout = config.ssh.connect_timeout
        self._context.op_timeout = config.ssh.op_timeout
        self._context.bootstrap_queue.resize(config.bootstrap.concurrency)
        self._context.bucket.rate = config.bootstrap.bytes_per_second
        self._context.bandwidth.limit(config.ssh.bytes_per_second)
        self._context.retry = Backoff(config.retry.first, config.retry.cap, random.random)
        self.config = config
        settle = config.settle
        for pipeline in self.service.pipelines.values():
            pipeline.adjust(
                cooldown=settle.cooldown, max_wait=settle.max_wait, rescan=settle.rescan
            )

    def close(self) -> None:
        """Release threads, sources and catalog. Call it after the service has ended."""
        for source in self._sources.values():
            source.stop()
        if self._publishing is not None:
            self._publishing.cancel()
        if self.publisher is not None:
            self.publisher.close()
        for aws in filter(None, (self._aws, self._console_aws)):
            aws.close()
        self.service.close()
        self._origins.close()
        self._pool.shutdown(wait=True)
        for source in self._sources.values():
            source.close()
        self._store.close()


def _close_source(source: SourceTree, _ending: asyncio.Task[None]) -> None:
    """Close the source of a removed tree; called when the tree has ended, so that nothing reads the source any more."""
    source.close()
