"""The TCP connection below one SSH connection, with limits on what the server may send."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from replicator.transport.limits import Budget, Guarded


class Line:
    """A connected socket that can be passed as `tunnel` to `asyncssh.connect`.

    Args:
        sock: connected and non-blocking. It is closed with the SSH connection, or by `close` if none was created.

    Attributes:
        budget: packets that the server may send.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.budget = Budget()
        self._sock: socket.socket | None = sock
        self._guarded: Guarded | None = None

    async def create_connection(
        self,
        factory: Callable[[], Any],
        host: str,  # passed by asyncssh, not needed
        port: int,
    ) -> tuple[asyncio.BaseTransport, Any]:
        """Run the SSH library's protocol over the socket."""
        guarded = self._guarded = Guarded(factory(), self.budget)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: guarded, sock=self._sock)
        self._sock = None
        return transport, guarded.connection

    def close(self) -> None:
        """Close the socket, unless an SSH connection has taken it over."""
        if self._sock is not None:
            self._sock.close()

    @property
    def ended(self) -> str:
        """Why the limits ended the connection; empty if they did not."""
        return self._guarded.ended if self._guarded is not None else ""

    def watch(self, channel: Any) -> None:
        """Refund packets of data that arrive on this channel; see Budget.was_data."""
        if self._guarded is not None:
            self._guarded.watch(channel)

    async def sent(self, size: int) -> None:
        """Add a write of `size` bytes to the budget, and wait while the send buffer is too full."""
        self.budget.sent(size)
        if self._guarded is not None:
            await self._guarded.writable()
