"""What all replicas share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Protocol

from replicator.core.debts import Key
from replicator.core.dirty import DirtySet
from replicator.core.pace import Backoff, TokenBucket
from replicator.engine.budget import Budget
from replicator.engine.gate import Gate
from replicator.engine.intake import Intake
from replicator.engine.ready import ReadyFile
from replicator.engine.reconcile import Territory
from replicator.engine.supply import Supply
from replicator.engine.targets import Targets
from replicator.ports import Connector
from replicator.wire.messages import OpenTree, Origin


@dataclass(frozen=True)
class Plot:
    """One tree as every replica sees it: where it comes from, where it goes, and what says that it is there."""

    intake: Intake
    open: OpenTree
    territory: Territory
    ready: ReadyFile | None = None

    @property
    def comparable(self) -> bool:
        """True if frontends may be compared with this tree: all of the source has been met, and it is not in doubt."""
        return self.intake.surveyed.is_set() and not self.intake.halted


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
class Commons:
    """What all replicas share. `pool` is for bulk reading; looks at what changes have threads of their own, tree by tree."""

    connector: Connector
    plots: dict[int, Plot]
    supply: Supply
    pool: Executor
    gate: Gate
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
