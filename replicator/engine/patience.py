"""How long an agent that owes answers may make no progress: then it is given up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from replicator.errors import ChannelLost


class Patience:
    """Ends a connection on which nothing gets on.

    Bytes that answer nothing (empty acknowledgements, half a frame without an end) are no progress, nor is it one that the
    frontend takes what we send: who never answers must not keep its place at the gate.

    Args:
        owed: says what the agent owes us; empty if nothing.
    """

    def __init__(self, owed: Callable[[], str]) -> None:
        self._owed = owed
        self._progress_at = _now()

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

    async def watch(self, limit: float) -> None:
        """Wait until answers are due, and for `limit` seconds none has come.

        Raises:
            ChannelLost: then.
        """
        while True:
            await asyncio.sleep(limit / 4)
            if _now() - self._progress_at > limit and (owed := self._owed()):
                raise ChannelLost(f"no answer for {limit:g} seconds with {owed} under way")


def _now() -> float:
    return asyncio.get_running_loop().time()
