"""What all replicas share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Protocol

from replicator.core.dirty import DirtySet
from replicator.core.pace import Backoff, TokenBucket
from replicator.core.pending import Key
from replicator.engine.bootstrap_queue import BootstrapQueue
from replicator.engine.budget import Budget
from replicator.engine.changes.reader import ContentReader
from replicator.engine.targets import Targets
from replicator.engine.tree import Tree
from replicator.ports import Connector
from replicator.wire.messages import Origin


class Peer(Protocol):
    """A frontend, as the others see it.

    Attributes:
        dirty: what it is owed.
    """

    dirty: DirtySet

    def holds(self, key: Key) -> bool:
        """Return True if it is connected, was compared, and is not owed a path."""


async def _nowhere() -> Origin:
    return Origin()


@dataclass
class Context:
    """What all replicas share. `pool` is for bulk reading; looks at what changes have threads of their own, tree by tree."""

    connector: Connector
    trees: dict[int, Tree]
    reader: ContentReader
    pool: Executor
    bootstrap_queue: BootstrapQueue
    bucket: TokenBucket
    retry: Backoff
    connect_timeout: float
    op_timeout: float
    compare: bool = True
    """Off: a frontend that connects is taken as it is (verify without a daemon only looks)."""
    peers: Callable[[], Iterable[Peer]] = tuple
    """All frontends of the fleet."""
    budget: Budget = field(default_factory=Budget)
    """How many paths they may be owed together."""
    origin: Callable[[], Awaitable[Origin]] = _nowhere
    """Returns where the sources lie, for agents to refuse a target that shares files with one."""
    targets: Targets = field(default_factory=Targets)
    """Which directories the targets are."""
