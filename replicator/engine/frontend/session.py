"""One connection to one frontend: everything that works on it, until the first part fails.

Live changes are sent as soon as the trees are open, also while the frontend waits in the bootstrap queue and while it is compared.
What it missed while it was not connected is in its dirty set, and is sent at once; the comparison that follows finds what else
differs.
"""

from __future__ import annotations

import asyncio
import platform

from replicator.core.lifecycle import State
from replicator.engine.bootstrap_queue import Place, Rank
from replicator.engine.context import Context
from replicator.engine.frontend.comparisons import Comparisons
from replicator.engine.frontend.connection import Connection
from replicator.engine.frontend.opened_trees import OpenedTrees
from replicator.engine.frontend.progress import WorkDone, giving_way_when_slow
from replicator.engine.frontend.readiness import Readiness
from replicator.engine.frontend.restore import Restorer
from replicator.engine.frontend.sender import Sender
from replicator.engine.frontend.state import FrontendState
from replicator.engine.loop import loop_time
from replicator.ports import Channel, Decision


class Session:
    """Works on one connection.

    Args:
        channel: connected; the agent has written its marker.
        context: what all replicas share.
        state: state of the frontend.

    Attributes:
        connection: the connection.
        sender: sends the changes.
        opened: the trees that the agent has opened.
        comparisons: the comparisons on the connection.
        restorer: fills trees from their bases before they are compared.
        readiness: keeps the ready files.
        is_established: the agent has opened the trees, and live changes are sent.
    """

    def __init__(self, channel: Channel, context: Context, state: FrontendState) -> None:
        self.is_established = False
        self._context = context
        self._state = state
        self.sender = Sender(state, context)
        self.connection = Connection(
            channel, self.sender.answered, self.sender.wake, context.bandwidth
        )
        self.opened = OpenedTrees(self.connection, context, state)
        machine = state.candidate.identity or state.address.host
        self.readiness = Readiness(
            self.connection,
            context,
            state.dirty,
            state.resync_queue,
            self.opened,
            machine,
            state.unknown_while_paused,
        )
        self.comparisons = Comparisons(
            self.connection, context, state, self.opened, self.readiness, self.sender
        )
        self.restorer = Restorer(self.connection, context, state)

    async def run(self) -> None:
        """Work until something fails.

        Raises:
            Exception: the failure, or a group of failures.
        """
        try:
            await self._work()
        finally:
            self.is_established = False
            self.sender.close()
            self.connection.close("the connection was lost")
            self._state.pending_paths.connection_lost()

    def remove_tree(self, tree: int) -> None:
        """End all work on a tree that was removed."""
        self.opened.remove(tree)
        self.comparisons.cancel(tree)
        self.connection.restoring.cancel(tree)
        self.readiness.forget(tree)

    def hold(self) -> None:
        """End all work on paused trees, but what is in the queue of the connection."""
        self.comparisons.hold()
        self.sender.hold()
        for tree in self._state.held:
            self.connection.restoring.cancel(tree)

    async def _work(self) -> None:
        context, connection = self._context, self.connection
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(connection.receive())
            tasks.create_task(connection.progress_timeout.watch(context.op_timeout))
            tasks.create_task(connection.send_sources())
            async with asyncio.timeout(context.connect_timeout):
                await self._exchange_hello()
            await self.readiness.begin(loop_time())
            self.sender.links = "link" in connection.agent.features
            self._state.pending_paths.connected(self.opened)
            self.is_established = True
            tasks.create_task(self.readiness.keep())
            tasks.create_task(self.sender.run(connection))
            tasks.create_task(self.comparisons.resync_directories())
            tasks.create_task(self._keep_compared())

    async def _exchange_hello(self) -> None:
        await self.connection.exchange_hello(
            f"replicator on {platform.node()} for {self._state.address}"
        )
        self._state.about = self.connection.agent.about
        self._state.resync_queue.connected()
        await self.opened.open_all()

    async def _keep_compared(self) -> None:
        """Compare each tree as soon as its source is scanned, and again whenever that is requested."""
        state = self._state
        state.move_to(State.QUEUED)
        while True:
            if not await self.comparisons.next_due():
                if self.opened and not state.uncompared:
                    state.move_to(State.LIVE)
                await self.comparisons.due_changed()
                continue
            state.move_to(State.QUEUED)
            await self.restorer.restore(self.comparisons.ready())
            state.move_to(State.QUEUED)
            async with self._context.bootstrap_queue.place(state, self._rank()) as place:
                state.is_front = False
                state.move_to(State.BOOTSTRAPPING)
                compared = await self._compare(place)
            for tree in compared:
                state.pending_paths.tree_compared(tree)
                self.readiness.compared(tree)
            if not {*compared, *state.held}.isdisjoint(state.uncompared):
                # Dirty paths may have been dropped meanwhile, or a tree was paused: the frontend is not live before the next comparison.
                state.move_to(State.QUEUED)
            else:
                state.bootstrap_ended()

    async def _compare(self, place: Place) -> list[int]:
        """Compare all trees that are due, and give way to others while the frontend is slow; return the trees that were compared."""

        def work() -> WorkDone:
            progress = self._state.progress
            return WorkDone(self.connection.lines_listed, progress.files_done, progress.bytes_done)

        most_lines = await self.comparisons.paths_due()
        async with giving_way_when_slow(place, work, most_lines, self._place_moved):
            return await self.comparisons.compare_trees(place.wait)

    def _place_moved(self, slow: str) -> None:
        """Note that the place in the bootstrap queue was given up because the frontend is slow, or is held again."""
        if slow:
            self._state.errors.comparison_slow(slow)
        self._state.move_to(State.QUEUED if slow else State.BOOTSTRAPPING)

    def _rank(self) -> Rank:
        if self._state.is_front:
            return Rank.ASKED_FOR
        is_leaving = self._state.candidate.decision is Decision.DRAIN
        return Rank.LEAVING if is_leaving else Rank.USUAL
