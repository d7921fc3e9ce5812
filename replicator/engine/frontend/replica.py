"""One frontend: connect, work until the connection fails, and connect again.

A failure of any type ends the connection of this frontend, and affects no other frontend.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from replicator.core.lifecycle import State
from replicator.core.pending import Key
from replicator.engine.changes.encode import EncodedChanges
from replicator.engine.context import Context
from replicator.engine.frontend.connection import Connection
from replicator.engine.frontend.session import Session
from replicator.engine.frontend.state import FrontendState
from replicator.engine.paused import Pause
from replicator.engine.supervision import sentence
from replicator.model import printable
from replicator.ports import Candidate
from replicator.wire.messages import Origin

log = structlog.get_logger()


class Replica(FrontendState):
    """One frontend.

    Args:
        candidate: the frontend, as discovered.
        context: what all replicas share.
        front: a person has asked for it: it goes to the front of the bootstrap queue.

    Attributes:
        waiting_requests: number of `bootstrap` requests that wait for it.
        session: the connection and what works on it; None while it is not connected.
    """

    def __init__(self, candidate: Candidate, context: Context, *, front: bool = False) -> None:
        super().__init__(candidate, context)
        self.is_front = front
        self.waiting_requests = 0
        self.session: Session | None = None
        self._bytes_before = 0

    @property
    def _established(self) -> Session | None:
        return self.session if self.session and self.session.is_established else None

    @property
    def connection(self) -> Connection | None:
        """The connection on which live changes are sent; None if there is none."""
        established = self._established
        return established.connection if established else None

    @property
    def bytes_sent(self) -> int:
        """Bytes written to it since the daemon started."""
        return self._bytes_before + (self.session.connection.bytes_sent if self.session else 0)

    @property
    def queue_position(self) -> int | None:
        """Position in the bootstrap queue, 1 for the next; None if it is not in the queue."""
        return self._context.bootstrap_queue.position(self)

    @property
    def ready(self) -> bool | None:
        """Whether its ready files exist; None if none is configured, or it is not connected."""
        established = self._established
        return established.readiness.ready if established else None

    @property
    def waits_for_source(self) -> bool:
        """True if it is connected, and none of the trees that have to be compared can be compared now."""
        connected = self.state in (State.QUEUED, State.LIVE)
        return connected and self.session is not None and not self.session.comparisons.due()

    @property
    def is_paused(self) -> bool:
        """True if it is paused, or if none of the trees with which it must be compared can be compared now, and one of them is paused."""
        if self.pause is not None:
            return True
        return bool(self.held and self.why_paused) and self.waits_for_source

    def has_current(self, key: Key) -> bool:
        """See `engine.context.Peer`."""
        counted = key.tree in self.pending_paths.counted
        return self.connection is not None and counted and key not in self.dirty

    def lacks(self, key: Key) -> bool:
        """See `engine.fleet.deliveries.Recipient`."""
        served = self.connection is not None and self.serves and key.tree not in self.held
        return served and not self.has_current(key)

    def lacks_any(self, tree: int) -> bool:
        """See `engine.fleet.deliveries.Recipient`."""
        if self.connection is None or not self.serves or tree in self.held:
            return False
        return tree not in self.pending_paths.counted or any(key.tree == tree for key in self.dirty)

    def unconfirmed(
        self, key: Key, until: float, ignores: Callable[[bytes], bool] = lambda _: False
    ) -> str:
        """Return what it has not confirmed of what was published until a time, as a clause; empty if nothing.

        Args:
            key: what is at and below it.
            until: the time.
            ignores: returns True for paths that do not count.
        """
        if self.connection is None:
            return f"not connected: {self.last_error or 'it has not answered yet'}"
        if error := self.target_error(key.tree):
            return error
        if not self.pending_paths.is_followed(key.tree):
            compared = self.resync_queue.is_satisfied(key.tree)
            if not compared or key.tree not in self.pending_paths.counted:
                return f"being compared ({self.state.value})"
            if self.resync_queue.overlaps(key):
                return "being compared"
        if self.session is not None and self.session.sender.is_moving:
            return "a renamed directory is in flight"
        # What a comparison has found may have been published before that time, however late it was found.
        until = max(until, self.resync_queue.ended_at(key.tree))
        for (_, path), reason in self.dirty.unconfirmed(key, until):
            if not ignores(path):
                return f"{printable(path)} is not confirmed: {reason or 'pending'}"
        return ""

    def target_error(self, tree: int) -> str:
        """Return why its agent cannot use a tree's target; empty if it can."""
        return self.session.opened.error(tree) if self.session else ""

    def is_other_machine(self, candidate: Candidate) -> bool:
        """Return True if a candidate is another machine at the same address."""
        known, new = self.candidate.identity, candidate.identity
        return bool(known and new and new != known)

    def offer(self, encoded: EncodedChanges) -> None:
        """Send live changes, or mark their paths dirty."""
        self.pending_paths.note(encoded)
        session = self._established
        if session is None or (self.held and encoded.parts[0].key.tree in self.held):
            self.pending_paths.missed(encoded)
        elif encoded.parts and encoded.parts[0].key.tree in session.opened:
            session.sender.offer(encoded)
            if self._context.bandwidth.is_limited:
                session.connection.hurry()
        self.pending_paths.marked(len(encoded.parts))

    def hold(self, pause: Pause | None, trees: frozenset[int]) -> None:
        """Send nothing of these trees from now on, and what is dirty of all others.

        The connection is kept, so that the ready file is removed if the frontend lacks for too long what others have.

        Args:
            pause: the pause of the frontend; None if it is not paused.
            trees: all trees if it is, otherwise those that are paused.
        """
        self.pause = pause
        if trees == self.held:
            return
        self.held = trees
        self.dirty.hold(trees)
        self.resync_queue.hold(trees)
        self.pending_paths.reduced.set()
        if self.session is not None:
            self.session.hold()

    def repair(self, keys: list[Key]) -> None:
        """Send paths again, even if the frontend has confirmed them."""
        self.pending_paths.repair(keys)
        if session := self._established:
            session.sender.wake()

    def resync(self, *, front: bool = False) -> None:
        """Compare all trees again; `front`: before all other frontends, and what was refused is tried at once."""
        if front:
            self.is_front = True
            self._retry_targets()
            self.dirty.retry_now()
            if session := self._established:
                session.sender.wake()
            self._context.bootstrap_queue.to_front(self)
        self.resync_queue.request_all()

    def use_targets(self) -> None:
        """Open the targets that were refused: a person has confirmed them."""
        self._retry_targets()
        self.resync_queue.request_all()

    def sources_moved(self, origin: Origin) -> None:
        """Send the agent the location of the sources, ahead of the next message."""
        if self.session is not None:
            self.session.opened.sources_moved(origin)

    def remove_tree(self, tree: int) -> None:
        """End all work on a tree that was removed. The frontend keeps its files."""
        if self.session is not None:
            self.session.remove_tree(tree)
        super().remove_tree(tree)

    async def run(self) -> None:
        """Keep the frontend up to date until cancelled."""
        try:
            while True:
                # In its own task, because a TaskGroup of Python 3.11 loses a cancellation that coincides with an error.
                reason = await asyncio.get_running_loop().create_task(self._attempt())
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise asyncio.CancelledError
                in_a_row = self.failed(reason)
                await self.resync_queue.pause(self._context.retry.delay(in_a_row))
                self.move_to(State.CONNECTING)
        finally:
            self.state = State.GONE

    async def _attempt(self) -> str:
        """Connect, and work until something fails; return the failure as a sentence."""
        try:
            await self._connect()
        except Exception as error:  # it must not affect the other frontends
            reason, is_bug = sentence(error)
            if is_bug and self.errors.is_new(reason):
                log.exception("internal error", host=self.address.host)
            return reason
        return "the connection ended"

    async def _connect(self) -> None:
        channel = await self._context.connector.connect(self.address, self.candidate.identity)
        self.logins += 1
        session = self.session = Session(channel, self._context, self)
        try:
            await session.run()
        finally:
            self._bytes_before += session.connection.bytes_sent
            self.session = None
            await channel.close()

    def _retry_targets(self) -> None:
        if self.session is not None:
            self.session.opened.retry_now()
