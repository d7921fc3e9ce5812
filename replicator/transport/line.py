"""The TCP connection below one SSH connection: dialled by us, with limits to what may come over it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from replicator.transport.limits import Budget, Guarded


class Line:
    """A connected socket, in the form in which `asyncssh.connect` takes a connection: as its `tunnel`.

    Args:
        sock: connected and non-blocking; closed with the SSH connection, or by `close` if there never was one.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.budget = Budget()
        self._sock: socket.socket | None = sock
        self._guarded: Guarded | None = None

    async def create_connection(
        self,
        factory: Callable[[], Any],
        host: str,  # asyncssh passes it; the socket is connected already
        port: int,
    ) -> tuple[asyncio.BaseTransport, Any]:
        """Run the SSH library's protocol over the socket."""
        guarded = self._guarded = Guarded(factory(), self.budget)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: guarded, sock=self._sock)
        self._sock = None
        return transport, guarded.connection

    def close(self) -> None:
        """Close the socket, unless it belongs to an SSH connection by now."""
        if self._sock is not None:
            self._sock.close()

    @property
    def ended(self) -> str:
        """Why the connection was ended by its limits; empty while it was not."""
        return self._guarded.ended if self._guarded is not None else ""

    def watch(self, channel: Any) -> None:  # noqa: ANN401  # see Guarded
        """Count what arrives on a channel as data."""
        if self._guarded is not None:
            self._guarded.watch(channel)

    async def sent(self, size: int) -> None:
        """Note that `size` bytes were written, and wait while too much of it is queued."""
        self.budget.sent(size)
        if self._guarded is not None:
            await self._guarded.writable()
