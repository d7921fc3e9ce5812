"""An established SSH connection with one session: its buffers, its end, and the channel that the engine uses."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import asyncssh

from replicator.errors import ChannelLost
from replicator.transport import stream
from replicator.transport.cork import Cork
from replicator.transport.line import Line

WINDOW = 4 << 20
"""Bytes that an agent may send before they are read."""

WRITE_HIGH = 2 << 20
"""Bytes queued in this process at which writers wait, so that a live change is not delayed behind more."""

CLOSE_TIMEOUT = 2.0
"""Seconds to wait for the peer when a connection is closed, before it is aborted."""


class SSHSession(asyncssh.SSHClientSession[bytes]):
    """Buffers the agent's output within a bound, and tracks whether the channel accepts writes."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._arrived = bytearray()
        self._news = asyncio.Event()
        self.ended = False
        self._paused = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._status: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self.errors = stream.Errors()
        self.lost = ""

    @property
    def channel(self) -> asyncssh.SSHClientChannel[bytes]:
        """The SSH channel; available after connection_made."""
        assert self._channel is not None  # connection_made came first
        return self._channel

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        """Keep the channel, and limit what may be queued on it."""
        self._channel = chan
        chan.set_write_buffer_limits(high=WRITE_HIGH)
        self.line.watch(chan)

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Buffer the agent's output; pause the channel while too much of it is unread."""
        if datatype == asyncssh.EXTENDED_DATA_STDERR:
            self.errors.add(data)
            return
        self._arrived += data
        self._news.set()
        if len(self._arrived) > WINDOW and not self._paused:
            self._paused = True
            self.channel.pause_reading()

    def eof_received(self) -> bool:
        """Note that the agent has closed its output; return True to keep the channel open."""
        self._end()
        return True  # the exit status is still to come

    def exit_status_received(self, status: int) -> None:
        """Keep the exit status of the remote command."""
        if not self._status.done():
            self._status.set_result(status)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection has ended, and why."""
        # The text may come from the server: `said` makes it printable.
        text = str(exc).encode("utf-8", "surrogatepass") if exc else b""
        self.lost = stream.said(text) or "closed by the frontend"
        if not self._status.done():
            self._status.set_result(None)
        self._end()

    def pause_writing(self) -> None:
        """Note that too much is queued."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Note that more may be written."""
        self._writable.set()

    def _end(self) -> None:
        self.ended = True
        self._news.set()
        self._writable.set()

    async def read(self) -> bytes:
        """Wait for data; return everything that has arrived, empty at the end of the stream."""
        while not self._arrived and not self.ended:
            self._news.clear()
            await self._news.wait()
        data = bytes(self._arrived)
        self._arrived.clear()
        if self._paused:
            self._paused = False
            self.channel.resume_reading()
        return data

    def push_back(self, data: bytes) -> None:
        """Prepend bytes to the buffer."""
        self._arrived[:0] = data
        self._news.set()

    async def writable(self) -> None:
        """Wait while too many bytes are queued."""
        await self._writable.wait()

    async def exit_status(self) -> int | None:
        """Wait for the exit status of the remote command; None if the connection ended without one."""
        return await self._status


class SSHChannel:
    """A channel over SSH; see `ports.Channel`."""

    def __init__(self, connection: asyncssh.SSHClientConnection, session: SSHSession) -> None:
        self._connection = connection
        self._line = session.line
        self._session = session
        self._cork = Cork(connection)

    async def read(self) -> bytes:
        """Return the next bytes; empty at the end."""
        return await self._session.read()

    async def write(self, data: bytes) -> None:
        """Write, and wait while too much is queued."""
        session = self._session
        if session.ended or session.channel.is_closing():
            raise ChannelLost(f"the connection is gone: {self.diagnosis() or 'closed'}")
        try:
            session.channel.write(data)
            self._cork.flush()
        except (OSError, asyncssh.Error) as error:
            raise ChannelLost(f"the connection is gone: {error}") from error
        await self._line.sent(len(data))
        await session.writable()
        # After the agent's end and before the channel's, asyncssh queues without bound.
        if session.ended:
            raise ChannelLost(
                f"the connection is gone: {self.diagnosis() or 'the agent has ended'}"
            )

    def diagnosis(self) -> str:
        """Return what the agent printed on its error stream, or why the connection ended."""
        lost = self._session.lost
        return self._line.ended or self._session.errors.said() or lost

    async def close(self) -> None:
        """Close the session and the connection, within CLOSE_TIMEOUT seconds."""
        await hang_up(self._connection)


async def hang_up(connection: asyncssh.SSHClientConnection) -> None:
    """Close a connection; abort it if the peer does not answer within CLOSE_TIMEOUT seconds.

    It uses `asyncio.wait`, because it runs while its task is being cancelled: there, `asyncio.timeout` of Python 3.11.2 raises
    CancelledError instead of TimeoutError.
    """
    connection.close()
    closed = asyncio.ensure_future(connection.wait_closed())
    try:
        await asyncio.wait([closed], timeout=CLOSE_TIMEOUT)
    finally:
        if not closed.done() or closed.exception():
            connection.abort()
        with suppress(OSError, asyncssh.Error):
            await closed
