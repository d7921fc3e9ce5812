"""The trees that one agent has opened on its connection, and the targets that it cannot use."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from replicator.engine.context import Context
from replicator.engine.frontend.compare import OpenedTree
from replicator.engine.frontend.connection import Connection
from replicator.engine.frontend.state import FrontendState
from replicator.engine.loop import loop_time
from replicator.errors import AgentFailed
from replicator.model import printable
from replicator.wire.messages import Origin


class OpenedTrees:
    """Opens trees on one connection. A target that cannot be used is tried again after growing delays; other trees do not wait for it.

    Args:
        connection: connection to the agent.
        context: the trees.
        state: state of the frontend.
    """

    def __init__(self, connection: Connection, context: Context, state: FrontendState) -> None:
        self._connection = connection
        self._context = context
        self._state = state
        self._origin = Origin()
        self._opened: dict[int, OpenedTree] = {}
        self._errors: dict[int, str] = {}
        self._attempts: dict[int, int] = {}
        self._retry_at: dict[int, float] = {}

    def __contains__(self, tree: object) -> bool:
        return tree in self._opened

    def __getitem__(self, tree: int) -> OpenedTree:
        return self._opened[tree]

    def __iter__(self) -> Iterator[int]:
        return iter(list(self._opened))

    def __bool__(self) -> bool:
        return bool(self._opened)

    def error(self, tree: int) -> str:
        """Return why the agent cannot use a tree's target; empty if it can."""
        return self._errors.get(tree, "")

    @property
    def missing(self) -> str:
        """Why the target of some tree is not open; empty if all are open."""
        return next(
            (
                self.error(number) or f"the target of {printable(tree.target.root)} is not open yet"
                for number, tree in self._context.trees.items()
                if number not in self._opened
            ),
            "",
        )

    async def open_all(self) -> None:
        """Open all trees of a new connection.

        Raises:
            AgentFailed: if no target can be used.
        """
        self._origin = await self._context.origin()
        reasons = {tree: await self._open(tree) for tree in list(self._context.trees)}
        if any(reasons.values()) and not self._opened:
            raise AgentFailed(next(filter(None, reasons.values())))
        for tree, reason in reasons.items():
            self._record(tree, reason)

    async def open_missing(self) -> None:
        """Open trees that were added, and those whose delay after a failure is over.

        An added tree is opened before its source is scanned: its agent reports whether the target belongs to another tree there.
        """
        for tree in list(self._context.trees):
            if tree not in self._opened and self.may_retry(tree):
                self._origin = await self._context.origin()
                self._record(tree, await self._open(tree))

    def sources_moved(self, origin: Origin) -> None:
        """Send the agent the location of the sources: no target may share files with one."""
        self._origin = origin
        self._connection.sources_moved(origin)

    def may_retry(self, tree: int) -> bool:
        """Return False until the delay after a failure is over."""
        return self._retry_at.get(tree, 0.0) <= loop_time()

    def next_retry(self) -> float | None:
        """Return the seconds until the next delay is over; None if there is none."""
        delays = [time - loop_time() for time in self._retry_at.values() if time > loop_time()]
        return min(delays, default=None)

    def retry_now(self) -> None:
        """End all delays."""
        self._retry_at.clear()

    def remove(self, tree: int) -> None:
        """Forget a tree that was removed."""
        self._opened.pop(tree, None)
        self._clear_error(tree)

    async def _open(self, number: int) -> str:
        """Open one tree, unless it is removed meanwhile; return why its target cannot be used, or an empty string."""
        tree = self._context.trees.get(number)
        if tree is None:
            return ""
        try:
            opened = await self._connection.open_tree(tree.target._replace(origin=self._origin))
        except AgentFailed as error:
            return str(error)
        targets = self._context.targets
        if refusal := targets.refusal(self._state.machine, tree.target.root, opened):
            return refusal
        if not targets.is_saved:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._context.pool, targets.save)
        if self._context.trees.get(number) is tree:
            self._clear_error(number)
            self._state.tree_opened(number, (self._connection.agent.boot, opened.identity))
            self._state.errors.unsupported(number, self._connection.agent.unsupported(tree.target))
            owner = opened.uid, opened.gid
            self._opened[number] = OpenedTree(tree, owner, opened.granularity)
        return ""

    def _record(self, tree: int, reason: str) -> None:
        """Record why a target cannot be used, and when to try it again."""
        if not reason or tree not in self._context.trees:
            return
        self._errors[tree] = reason
        self._attempts[tree] = self._attempts.get(tree, 0) + 1
        self._retry_at[tree] = loop_time() + self._context.retry.delay(self._attempts[tree])
        self._state.errors.target_failed(tree, reason)

    def _clear_error(self, tree: int) -> None:
        for known in (self._errors, self._attempts, self._retry_at):
            known.pop(tree, None)
