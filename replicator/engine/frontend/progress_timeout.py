"""Timeout for an agent that has requests to answer and makes no progress."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from replicator.engine.loop import loop_time
from replicator.errors import ChannelLost

LONGEST = 600.0
"""Seconds for which an agent that sends signs of life may work on one change. 4 GiB, the largest file that it is asked to hash
(`engine.changes.reader.MOST_HASHED`), take 600 s at 7 MB/s."""


class ProgressTimeout:
    """Ends a connection without progress.

    Bytes that answer nothing (empty acknowledgements, an incomplete frame) are no progress, and neither is the reading of what the
    backend sends: a frontend that never answers must not keep its place in the bootstrap queue.

    Args:
        unanswered: returns what is overdue if the agent makes no progress, as a clause; empty if nothing.
    """

    def __init__(self, unanswered: Callable[[], str]) -> None:
        self._unanswered = unanswered
        self._progress_at = loop_time()
        self._alive_at = self._progress_at

    def requesting(self) -> None:
        """Note that a request is about to be sent: if no answer is due, the timeout starts now."""
        if not self._unanswered():
            self._progress_at = loop_time()

    def progressed(self) -> None:
        """Note that the agent has answered something."""
        self._progress_at = loop_time()

    def progressed_by(self, seconds: float) -> None:
        """Note that the agent has done work that should take at most so long."""
        self._progress_at = min(loop_time(), self._progress_at + seconds)

    def alive(self) -> None:
        """Note a sign of life of an agent that works on a long change. It counts for LONGEST seconds after the last progress."""
        if loop_time() - self._progress_at <= LONGEST:
            self._alive_at = loop_time()

    async def watch(self, limit: float) -> None:
        """Wait until answers are due, and for `limit` seconds there was neither one nor a sign of life that counts.

        Raises:
            ChannelLost: when that is so.
        """
        while True:
            await asyncio.sleep(limit / 4)
            latest = max(self._progress_at, self._alive_at)
            if loop_time() - latest > limit and (unanswered := self._unanswered()):
                raise ChannelLost(f"{unanswered} for {limit:g} seconds")
