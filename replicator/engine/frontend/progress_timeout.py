"""How long an agent that owes answers may make no progress: then it is given up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from replicator.errors import ChannelLost

LONGEST = 600.0
"""Seconds for which an agent that says that it is alive may work on one change: 4 GiB, the most that it is asked to hash
(`engine.changes.reader.MOST_HASHED`), in 600 s is 7 MB/s."""


class ProgressTimeout:
    """Ends a connection on which nothing gets on.

    Bytes that answer nothing (empty acknowledgements, half a frame without an end) are no progress, nor is it one that the
    frontend takes what we send: who never answers must not keep its place at the gate.

    Args:
        owed: says what the agent owes us; empty if nothing.
    """

    def __init__(self, owed: Callable[[], str]) -> None:
        self._owed = owed
        self._progress_at = _now()
        self._alive_at = self._progress_at

    def asking(self) -> None:
        """The agent is about to be asked for something: if it owed nothing, its time begins now."""
        if not self._owed():
            self._progress_at = _now()

    def progressed(self) -> None:
        """The agent has answered something."""
        self._progress_at = _now()

    def progressed_by(self, seconds: float) -> None:
        """The agent has done a part that should take it so long."""
        self._progress_at = min(_now(), self._progress_at + seconds)

    def alive(self) -> bool:
        """The agent says that it works on something that takes long; return whether that is believed.

        It is, for LONGEST seconds after the last progress.
        """
        believed = _now() - self._progress_at <= LONGEST
        if believed:
            self._alive_at = _now()
        return believed

    async def watch(self, limit: float) -> None:
        """Wait until answers are due, and for `limit` seconds neither one nor a believed sign of life has come.

        Raises:
            ChannelLost: then.
        """
        while True:
            await asyncio.sleep(limit / 4)
            heard_at = max(self._progress_at, self._alive_at)
            if _now() - heard_at > limit and (owed := self._owed()):
                raise ChannelLost(f"no answer for {limit:g} seconds with {owed} under way")


def _now() -> float:
    return asyncio.get_running_loop().time()
