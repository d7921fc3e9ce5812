"""The replicas of all frontends, and one task for each.

A frontend that joins gets a replica, and that of a frontend that leaves is closed; the others are not affected.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator

import structlog

from replicator.engine.budget import Budget
from replicator.engine.changes.encode import EncodedChanges
from replicator.engine.context import Context
from replicator.engine.fleet.deliveries import Deliveries
from replicator.engine.frontend.replica import Replica
from replicator.engine.loop import Pauses
from replicator.ports import Address, Candidate

log = structlog.get_logger()

MANUAL = "manual"
"""Source of a frontend that an operator has added."""


class Fleet:
    """All replicas.

    Args:
        context: the objects that they share.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._replicas: dict[Address, Replica] = {}
        self._tasks: dict[Address, asyncio.Task[None]] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        context.peers = self.__iter__
        context.budget = Budget(lambda: (replica.pending_paths for replica in self))
        self._deliveries = Deliveries(self.__iter__, context.trees, context.events)
        context.confirmed = self._deliveries.confirmed

    def __iter__(self) -> Iterator[Replica]:
        return iter(list(self._replicas.values()))

    def __len__(self) -> int:
        return len(self._replicas)

    async def publish(self, encoded: EncodedChanges) -> None:
        """Pass encoded changes to every replica. The changes of a tree must be published in their order."""
        pauses = Pauses()
        for replica in list(self._replicas.values()):
            replica.offer(encoded)
            await pauses.pause()
        self._deliveries.published(encoded)

    def trees_changed(self) -> None:
        """Notify every replica that a tree was added, or can be compared now."""
        for replica in self._replicas.values():
            replica.resync_queue.notify()

    def compare(self, tree: int) -> None:
        """Request a comparison of one tree with every frontend."""
        for replica in self._replicas.values():
            replica.resync_queue.request_tree(tree)

    def set_members(self, candidates: Iterable[Candidate], *, drop: bool = True) -> None:
        """Make the fleet equal to the frontends that discovery has found.

        Args:
            candidates: the frontends; another machine at a known address replaces the one before.
            drop: True to remove frontends that are not in it, except those that an operator has added.
        """
        wanted = {candidate.address: candidate for candidate in candidates}
        for address, replica in list(self._replicas.items()):
            candidate = wanted.get(address)
            unnamed = drop and candidate is None and replica.candidate.source != MANUAL
            if unnamed or (candidate is not None and replica.is_other_machine(candidate)):
                self.remove(address)
        for address, candidate in wanted.items():
            known = self._replicas.get(address)
            same = self._added_manually(address) if known is None else None
            if same is not None:
                # An operator has added this host; discovery knows its user or port, with which it is connected from now on.
                self.remove(same.address)
                self.add(candidate, front=True)
            elif known is None:
                self.add(candidate)
            else:
                known.candidate = candidate
        self.apply_pauses()

    def _added_manually(self, address: Address) -> Replica | None:
        """Return the replica that an operator has added and that this address, with its user or port, refers to."""
        manual = (replica for replica in self if replica.candidate.source == MANUAL)
        return next((replica for replica in manual if replica.address.means(address)), None)

    def add(self, candidate: Candidate, *, front: bool = False) -> Replica:
        """Add one frontend; with `front`, it goes to the front of the bootstrap queue."""
        # The task of an earlier replica of this address may still be closing its connection; `run` waits for it at its end.
        leaving = self._tasks.get(candidate.address)
        if leaving is not None:
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
        replica = Replica(candidate, self._context, front=front)
        self._hold(replica)
        self._replicas[candidate.address] = replica
        name = f"replica {candidate.address}"
        self._tasks[candidate.address] = asyncio.get_running_loop().create_task(
            replica.run(), name=name
        )
        log.info("frontend joined", host=candidate.address.host, source=candidate.source)
        return replica

    def remove(self, address: Address) -> None:
        """Remove one frontend at once; this releases its place in the bootstrap queue."""
        replica = self._replicas.pop(address)
        self._tasks[address].cancel()
        log.info("frontend left", host=replica.address.host)

    def apply_pauses(self) -> None:
        """Hold back what is paused, and send what is not any more: a pause has changed, or a frontend or tree."""
        for tree in self._context.trees.values():
            tree.pause = self._context.paused.trees.get(tree.root)
        for replica in self._replicas.values():
            self._hold(replica)

    def _hold(self, replica: Replica) -> None:
        pause = self._context.paused.of_frontend(replica.candidate)
        trees = self._context.trees.items()
        replica.hold(pause, frozenset(number for number, one in trees if pause or one.pause))

    def _expire_pauses(self) -> None:
        ended = self._context.paused.expire(time.time())
        for name in ended:
            log.info("unpaused", what=name, reason="the time of the pause is over")
        if ended:
            self.apply_pauses()

    def find(self, address: Address) -> Replica | None:
        """Return the replica with an address; user and port are compared only if they are given."""
        return next((replica for replica in self if address.means(replica.address)), None)

    async def run(self) -> None:
        """Replace replicas whose task has ended by itself, until cancelled; then end all replicas."""
        try:
            while True:
                await asyncio.sleep(1)
                await self._deliveries.sweep()
                self._expire_pauses()
                for address, task in list(self._tasks.items()):
                    if task.done():
                        del self._tasks[address]
                        if not task.cancelled():
                            self._replace(address, task.exception())
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), *self._leaving, return_exceptions=True)

    def _replace(self, address: Address, error: BaseException | None) -> None:
        """Start a new replica for a frontend whose task has ended by itself, which is a bug."""
        log.error("internal error", host=address.host, exc_info=error)
        replica = self._replicas.get(address)
        if replica is not None:
            self.add(replica.candidate)
