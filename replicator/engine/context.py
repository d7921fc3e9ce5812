"""The objects that all replicas share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Protocol

from replicator.core.dirty import DirtySet
from replicator.core.pace import Backoff, TokenBucket
from replicator.core.pending import Key
from replicator.engine.bandwidth import Bandwidth
from replicator.engine.bootstrap_queue import BootstrapQueue
from replicator.engine.budget import Budget
from replicator.engine.changes.large_files import LargeFiles
from replicator.engine.changes.reader import ContentReader
from replicator.engine.changes.tree_reads import TreeReads
from replicator.engine.events import Events
from replicator.engine.histogram import Histogram
from replicator.engine.loop import Turns
from replicator.engine.paused import Paused
from replicator.engine.targets import Targets
from replicator.engine.tree import Tree
from replicator.engine.verified import VerifiedFrontends
from replicator.ports import Base, Connector
from replicator.wire.messages import Origin

BOOTSTRAP_BOUNDS = (
    0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0,
)  # fmt: skip
"""Upper bounds in seconds: a comparison of an equal frontend takes less than one, filling one with a terabyte some hours."""


class Peer(Protocol):
    """A frontend, as the other frontends see it.

    Attributes:
        dirty: its dirty paths.
    """

    dirty: DirtySet

    def has_current(self, key: Key) -> bool:
        """Return True if it is connected, was compared, and the path is not dirty."""


def _not_followed(_: Key) -> None:
    pass


async def _no_origin() -> Origin:
    return Origin()


@dataclass
class Context:
    """The objects that all replicas share. `pool` reads files for frontends; checks of a tree run in the tree's own threads."""

    connector: Connector
    trees: dict[int, Tree]
    reads: TreeReads
    reader: ContentReader
    large_files: LargeFiles
    pool: Executor
    bootstrap_queue: BootstrapQueue
    bucket: TokenBucket
    retry: Backoff
    connect_timeout: float
    op_timeout: float
    compare: bool = True
    """If False, frontends are not compared when they connect: for `verify` without a daemon, which only reads."""
    peers: Callable[[], Iterable[Peer]] = tuple
    """Returns all frontends of the fleet."""
    confirmed: Callable[[Key], None] = _not_followed
    """Called when a frontend has confirmed a path."""
    events: Events = field(default_factory=Events)
    """Receives what happens, for hooks and metrics."""
    budget: Budget = field(default_factory=Budget)
    """Limits of the dirty paths of all frontends together."""
    origin: Callable[[], Awaitable[Origin]] = _no_origin
    """Returns the identity of the sources, so that an agent refuses a target that shares files with one."""
    targets: Targets = field(default_factory=Targets)
    """The known identities of the target directories."""
    bootstraps: Histogram = field(default_factory=lambda: Histogram(BOOTSTRAP_BOUNDS))
    """How long comparisons of whole trees take, with the transfers that follow."""
    verified: VerifiedFrontends = field(default_factory=VerifiedFrontends)
    """What the last verification of each frontend found."""
    base: Base | None = None
    """What an object store holds of the trees; None: everything is sent over SSH."""
    bandwidth: Bandwidth = field(default_factory=Bandwidth)
    """Limit of what is sent to all frontends together."""
    bulk_turns: Turns = field(default_factory=Turns)
    """Taken by a sender before it writes a bulk frame, whatever the frontend."""
    searching: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    """Held while a file is compared with the sums of a frontend: 1 s for 1 GiB, in one of the three threads of `pool`."""
    paused: Paused = field(default_factory=Paused)
    """The frontends and trees that an operator has paused."""
