"""The limit of what is sent to all frontends together (`ssh.bandwidth`)."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

from replicator.core.fair_share import FairShare

PIECE_SECONDS = 0.02
"""A frame is written in pieces that take so long at the whole rate: a live change of another frontend waits for one piece at most."""

LEAST, MOST = 4 << 10, 1 << 20
"""Bytes of a piece."""


class Bandwidth:
    """The limit; without one, callers need not ask.

    Args:
        rate: bytes per second; None: no limit.
    """

    def __init__(self, rate: float | None = None) -> None:
        self._share = FairShare(rate or 1.0)
        self._granted: dict[Hashable, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.is_limited = rate is not None

    def limit(self, rate: float | None) -> None:
        """Change the limit; None: no limit."""
        self.is_limited = rate is not None
        if rate is not None:
            self._share.rate = rate
        self._grant()

    @property
    def piece(self) -> int:
        """Bytes for which a sender should ask at a time."""
        return int(min(MOST, max(LEAST, self._share.rate * PIECE_SECONDS)))

    async def turn(self, sender: Hashable, size: int, *, urgent: bool) -> None:
        """Wait until a sender may send `size` bytes; it must not wait for another turn meanwhile."""
        self._granted[sender] = granted = asyncio.get_running_loop().create_future()
        self._share.wait(sender, size, urgent=urgent)
        self._grant()
        try:
            await granted
        finally:
            self._granted.pop(sender, None)

    def spent(self, size: int) -> None:
        """Count bytes that were sent without a turn."""
        if self.is_limited:
            self._share.spent(size)

    def hurry(self, sender: Hashable) -> None:
        """Make the turn that a sender waits for urgent: a live change waits behind it."""
        self._share.hurry(sender)

    def forget(self, sender: Hashable) -> None:
        """Remove a sender whose connection has ended."""
        self._share.forget(sender)

    def _grant(self) -> None:
        """Give turns to all who may send now, and set a timer for the next."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self.is_limited:
            for sender, granted in list(self._granted.items()):
                self._share.forget(sender)
                if not granted.done():
                    granted.set_result(None)
            return
        while (sender := self._share.next(loop.time())) is not None:
            turn = self._granted.get(sender)
            if turn is not None and not turn.done():
                turn.set_result(None)
        if any(not granted.done() for granted in self._granted.values()):
            # The clock of uvloop counts milliseconds: never 0, which would be a busy loop.
            self._timer = loop.call_later(max(0.001, self._share.delay(loop.time())), self._grant)
