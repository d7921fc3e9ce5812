"""The replicas that exist, kept equal to the roster: one task for each, owned here.

Membership is cheap: a frontend that joins gets a replica, one that leaves loses it, and nobody else notices.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

import structlog

from replicator.engine.budget import Budget
from replicator.engine.changes.encode import EncodedChanges
from replicator.engine.context import Context
from replicator.engine.frontend.replica import Replica
from replicator.engine.pauses import Pauses
from replicator.ports import Address, Candidate

log = structlog.get_logger()


MANUAL = "manual"
"""Source of a frontend that a person has added."""


class Fleet:
    """All replicas.

    Args:
        context: what they share.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._replicas: dict[Address, Replica] = {}
        self._tasks: dict[Address, asyncio.Task[None]] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        context.peers = self.__iter__
        context.budget = Budget(self.__iter__)

    def __iter__(self) -> Iterator[Replica]:
        return iter(list(self._replicas.values()))

    def __len__(self) -> int:
        return len(self._replicas)

    async def publish(self, encoded: EncodedChanges) -> None:
        """Offer a change to everybody; each frontend gets the changes of a tree in their order."""
        pauses = Pauses(asyncio.get_running_loop())
        for replica in list(self._replicas.values()):
            replica.offer(encoded)
            await pauses.pause()

    def trees_changed(self) -> None:
        """Tell everybody that a tree was added, or can be compared now."""
        for replica in self._replicas.values():
            replica.trees_changed()

    def compare(self, tree: int) -> None:
        """Compare everybody with one tree again."""
        for replica in self._replicas.values():
            replica.compare(tree)

    def set_members(self, candidates: Iterable[Candidate], *, drop: bool = True) -> None:
        """Make the fleet what discovery says, but for those that a person added by hand and that are still being filled.

        Args:
            candidates: who should be in it; another machine at a known address is another frontend.
            drop: whether those who are not named shall go.
        """
        wanted = {candidate.address: candidate for candidate in candidates}
        for address, replica in list(self._replicas.items()):
            candidate = wanted.get(address)
            unnamed = drop and candidate is None and replica.candidate.source != MANUAL
            if unnamed or (candidate is not None and replica.is_another(candidate)):
                self.remove(address)
        for address, candidate in wanted.items():
            known = self._replicas.get(address)
            same = self._asked_for(address) if known is None else None
            if same is not None:
                # The host that a person asked for, dialled as another user or at another port from now on.
                self.remove(same.address)
                self.add(candidate, front=True)
            elif known is None:
                self.add(candidate)
            else:
                known.candidate = candidate

    def _asked_for(self, address: Address) -> Replica | None:
        """Return the replica that a person has added, and that an address names with a user or a port."""
        manual = (replica for replica in self if replica.candidate.source == MANUAL)
        return next((replica for replica in manual if replica.address.means(address)), None)

    def add(self, candidate: Candidate, *, front: bool = False) -> Replica:
        """Add one frontend; `front`: before everybody who waits to be filled."""
        # A machine that was here before may still be saying goodbye: its task is waited for at the end.
        leaving = self._tasks.get(candidate.address)
        if leaving is not None:
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
        replica = Replica(candidate, self._context, front=front)
        self._replicas[candidate.address] = replica
        name = f"replica {candidate.address}"
        self._tasks[candidate.address] = asyncio.get_running_loop().create_task(
            replica.run(), name=name
        )
        log.info("frontend joined", host=candidate.address.host, source=candidate.source)
        return replica

    def remove(self, address: Address) -> None:
        """Drop one frontend at once; its place at the gate is free."""
        replica = self._replicas.pop(address)
        self._tasks[address].cancel()
        log.info("frontend left", host=replica.address.host)

    def find(self, address: Address) -> Replica | None:
        """Return the replica that is dialled at an address; user and port count only where they are given."""
        return next((replica for replica in self if address.means(replica.address)), None)

    async def run(self) -> None:
        """Reap replicas until cancelled, then end them all. One that has ended by itself is replaced by a new one."""
        try:
            while True:
                await asyncio.sleep(1)
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
        """Begin anew with a frontend whose task has ended by itself, which is a bug."""
        log.error("internal error", host=address.host, exc_info=error)
        replica = self._replicas.get(address)
        if replica is not None:
            self.add(replica.candidate)
