"""Bound what one SSH connection may cost, whatever the server sends.

The agent's messages have limits of their own (see engine.link). This module bounds what lies below them, which the SSH library
takes in without a limit: global requests, ignored and debug messages, window adjustments, channel requests, error output, key
exchanges. A server that sends many such packets, or that does not read the replies to them, is disconnected. Received data is
handed to the SSH library in small pieces, so that the other connections have their turns in between.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any, cast

import asyncssh

PIECE = 16 << 10
"""Bytes that are handled before everybody else has a turn: 450 of the smallest packets, about 25 ms."""

BURST = 2000
"""Packets that a server may send beside the agent's data at any time. A login takes about 20."""

RATE = 100.0
"""Packets beside the agent's data for each second, in the long run: about one hundredth of a core."""

MOST = 20_000
"""Packets that may have been earned by what was sent."""

FOR_A_WRITE = 4
"""Packets that each write earns: the agent answers a frame with one message, in one packet."""

FOR_A_PACKET = 16 << 10
"""Bytes that earn one packet when they are sent: OpenSSH adjusts its window once for 96 KiB."""

SMALL = 1 << 10
"""Bytes of data from which on a packet counts as useful; smaller ones count in proportion."""

WRITE_HIGH = 4 << 20
"""Bytes of packets that are not sent yet, at which writers wait. An OpenSSH server's window admits 2 MiB of data."""

WRITE_MOST = 8 << 20
"""Bytes of packets that are not sent yet, at which the connection ends: the server does not read the replies to its requests."""

_KEXINIT, _CHANNEL_DATA = 20, 94
_HEADER = 9
"""Bytes of a packet of data that are not data."""

FOR_A_KEY_EXCHANGE = 50.0
"""Packets that a key exchange counts as: it takes about 3 ms."""


class Budget:
    """How many packets a server may still send beside the agent's data."""

    def __init__(self) -> None:
        self._left = float(BURST)
        self._at = time.monotonic()

    def sent(self, size: int) -> None:
        """Earn the packets with which a write of `size` bytes is answered."""
        self._left = min(MOST, self._left + FOR_A_WRITE + size / FOR_A_PACKET)

    def received(self, packets: float = 1.0) -> None:
        """Spend for what has arrived.

        Raises:
            asyncssh.ProtocolError: the server has sent too much.
        """
        self._left -= packets
        if self._left < 0:
            now = time.monotonic()
            self._left += min(BURST, (now - self._at) * RATE)
            self._at = now
        if self._left < 0:
            raise asyncssh.ProtocolError(
                f"the SSH server floods us: more than {RATE:.0f} packets/s carry no data of the agent"
            )

    def was_data(self, size: int) -> None:
        """Give back what was spent for a packet that turned out to carry data of the agent."""
        self._left += min(1.0, size / SMALL)


class Guarded(asyncio.Protocol):
    """Stands between a TCP connection and the SSH library.

    Args:
        connection: asyncssh's connection.
        budget: what it may cost.

    Attributes:
        ended: why the connection was ended here; empty while it was not.
    """

    def __init__(self, connection: Any, budget: Budget) -> None:  # noqa: ANN401  # partly undocumented
        self.connection = connection
        self._budget = budget
        self._transport: asyncio.Transport | None = None
        self._pieces: deque[bytes] = deque()
        self._due: asyncio.Handle | None = None
        self.ended = ""
        self._count_packets()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Pass on; see asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not one by class
        self.connection.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass on one piece now, and the rest in later turns of the loop."""
        if self.ended:
            return
        if self._due is None and len(data) <= PIECE:
            self.connection.data_received(data)
            return
        self._pieces.extend(data[start : start + PIECE] for start in range(0, len(data), PIECE))
        if self._due is None:
            self._next()

    def eof_received(self) -> bool | None:
        """Pass on, after all data."""
        self._rest()
        ended: bool | None = self.connection.eof_received()
        return ended

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on, after all data."""
        self._rest()
        self.connection.connection_lost(exc)

    async def writable(self) -> None:
        """Wait while too much is not sent yet: where the server's window is larger than ours would be."""
        while (transport := self._transport) is not None and not transport.is_closing():
            if transport.get_write_buffer_size() < WRITE_HIGH:
                return
            await asyncio.sleep(0.01)

    def watch(self, channel: Any) -> None:  # noqa: ANN401  # partly undocumented
        """Count what arrives on a channel as data."""
        if hasattr(channel, "log_received_packet"):
            channel.log_received_packet = self._channel_packet

    def _count_packets(self) -> None:
        """Be called for each packet. A release of asyncssh that lacks these methods is not limited; a test tells."""
        connection = self.connection
        if all(hasattr(connection, name) for name in ("_recv_pkthdr", "log_received_packet")):
            self._take_header = connection._recv_pkthdr  # noqa: SLF001
            connection._recv_pkthdr = self._header  # noqa: SLF001
            connection.log_received_packet = self._packet

    def _header(self) -> bool:
        taken: bool = self._take_header()
        if taken:
            self._spend(1.0)
        return taken

    def _packet(self, kind: int, *_: object) -> None:
        if kind == _KEXINIT:
            self._spend(FOR_A_KEY_EXCHANGE)

    def _channel_packet(self, kind: int, _: object, packet: Any, *__: object) -> None:  # noqa: ANN401
        if kind == _CHANNEL_DATA:
            self._budget.was_data(len(packet.get_full_payload()) - _HEADER)

    def _spend(self, packets: float) -> None:
        try:
            self._budget.received(packets)
            self._check_replies()
        except asyncssh.ProtocolError as error:
            self.ended = error.reason
            self._pieces.clear()
            raise

    def _check_replies(self) -> None:
        transport = self._transport
        if transport is not None and transport.get_write_buffer_size() > WRITE_MOST:
            raise asyncssh.ProtocolError(
                f"the SSH server does not read: {WRITE_MOST >> 20} MiB of replies wait for it"
            )

    def _next(self) -> None:
        transport = self._transport
        assert transport is not None  # data came from it
        if self._pieces:
            self.connection.data_received(self._pieces.popleft())
        if self._pieces:
            transport.pause_reading()
            self._due = asyncio.get_running_loop().call_soon(self._next)
        else:
            self._due = None
            transport.resume_reading()

    def _rest(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        while self._pieces:
            self.connection.data_received(self._pieces.popleft())
