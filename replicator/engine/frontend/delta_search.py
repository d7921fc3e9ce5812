"""Finds what a frontend lacks of large files of which it holds another version, from the sums of its blocks.

One file at a time is summed and compared, beside everything else that is sent. A file of which nothing can be used is sent whole.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from functools import partial

from replicator.core.pending import PendingKind
from replicator.engine.changes.difference import FoundDelta
from replicator.engine.changes.large_files import StreamedFile
from replicator.engine.context import Context
from replicator.engine.frontend.connection import Connection
from replicator.engine.frontend.state import FrontendState

LEAST = 1 << 20
"""Bytes of the smallest file of which sums are requested. Below, the round trip takes longer than to send the file at 20 MB/s."""


class DeltaSearch:
    """The large files of one frontend that are to be compared before they are sent.

    Args:
        state: state of the frontend.
        context: what all replicas share.
        found: receives each file, with what was found.
    """

    def __init__(
        self, state: FrontendState, context: Context, found: Callable[[StreamedFile], None]
    ) -> None:
        self._state = state
        self._context = context
        self._found = found
        self._waiting: deque[StreamedFile] = deque()
        self._added = asyncio.Event()
        self._can_sum = False

    def add(self, large: StreamedFile) -> bool:
        """Add a file, if the frontend may hold another version of it and its agent can sum that; return True if it was added."""
        may_differ = large.pending.kind in (PendingKind.ADOPT, PendingKind.DELTA)
        if not (self._can_sum and may_differ and large.record.entry.size >= LEAST):
            return False
        self._waiting.append(large)
        self._added.set()
        return True

    def take_held(self) -> list[StreamedFile]:
        """Remove and return the waiting files of paused trees."""
        waiting, paused = self._waiting, self._state.held
        self._waiting = deque(one for one in waiting if one.pending.key.tree not in paused)
        return [one for one in waiting if one.pending.key.tree in paused]

    def clear(self) -> None:
        """Drop the waiting files."""
        self._waiting.clear()

    async def run(self, connection: Connection) -> None:
        """Compare the files that are added, until cancelled.

        Raises:
            ChannelLost: if the connection is lost.
        """
        self._can_sum = "sums" in connection.agent.features
        while True:
            self._added.clear()
            while self._waiting:
                large = self._waiting.popleft()
                self._found(large._replace(found=await self._search(connection, large)))
            await self._added.wait()

    async def _search(self, connection: Connection, large: StreamedFile) -> FoundDelta | None:
        context, (key, generation, _) = self._context, large.pending
        large_files = context.large_files
        is_current = self._state.dirty.is_current
        size = large.record.entry.size
        held = await connection.block_sums.request(key, size, large_files.multiplier)
        if held is None or not is_current(key, generation):
            return None
        cancelled = threading.Event()

        def is_wanted() -> bool:
            return is_current(key, generation) and not cancelled.is_set()

        find = partial(large_files.find_delta, large, held, is_wanted)
        try:
            async with context.searching:
                return await asyncio.get_running_loop().run_in_executor(context.pool, find)
        finally:
            cancelled.set()
