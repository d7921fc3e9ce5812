"""Bound the cost of one SSH connection, whatever the server sends. This is a security limit.

The agent's messages have their own limits (see engine.frontend.connection). This module limits the SSH packets that the SSH library accepts without
bound: global requests, ignore and debug messages, window adjustments, channel requests, error output, key exchanges. A server that
sends too many of them, or does not read the replies, is disconnected. Received data is passed to the SSH library in small pieces, so
that other connections are served in between.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any, cast

import asyncssh

PIECE = 16 << 10
"""Bytes processed before other connections are served: 450 packets of the smallest size, about 25 ms."""

BURST = 2000
"""Packets other than the agent's data that a server may send at once. A login takes about 20."""

RATE = 100.0
"""Such packets per second in the long run: about one hundredth of a core."""

MOST = 20_000
"""Upper bound of the budget, in packets."""

FOR_A_WRITE = 4
"""Packets added to the budget by each write: the agent answers a frame with one message, in one packet."""

FOR_A_PACKET = 16 << 10
"""Bytes sent that add one packet to the budget: OpenSSH adjusts its window once per 96 KiB."""

SMALL = 1 << 10
"""Bytes of data with which a packet is free; smaller packets of data cost a part of one packet."""

WRITE_HIGH = 4 << 20
"""Bytes in the send buffer at which writers wait. An OpenSSH server's window admits 2 MiB of data."""

WRITE_MOST = 8 << 20
"""Bytes in the send buffer at which the connection is closed: the server does not read the replies to its requests."""

_KEXINIT, _CHANNEL_DATA = 20, 94
_HEADER = 9
"""Bytes of an SSH_MSG_CHANNEL_DATA packet before the data: type, channel, length (RFC 4254, section 5.2)."""

FOR_A_KEY_EXCHANGE = 50.0
"""Cost of a key exchange, in packets: it takes about 3 ms."""


class Budget:
    """The number of packets other than the agent's data that a server may still send."""

    def __init__(self) -> None:
        self._left = float(BURST)
        self._at = time.monotonic()

    def sent(self, size: int) -> None:
        """Add the packets that the server may need to answer a write of `size` bytes."""
        self._left = min(MOST, self._left + FOR_A_WRITE + size / FOR_A_PACKET)

    def received(self, packets: float = 1.0) -> None:
        """Subtract received packets.

        Raises:
            asyncssh.ProtocolError: if the budget is exhausted.
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
        """Refund a packet that contained `size` bytes of the agent's data: in full from SMALL bytes on, else in proportion."""
        self._left += min(1.0, size / SMALL)


class Guarded(asyncio.Protocol):
    """Protocol between the TCP transport and the SSH library that enforces the limits.

    Args:
        connection: the asyncssh connection.
        budget: its budget of packets.

    Attributes:
        connection: the asyncssh connection.
        ended: why the limits ended the connection; empty if they did not.
    """

    def __init__(self, connection: Any, budget: Budget) -> None:
        self.connection = connection
        self._budget = budget
        self._transport: asyncio.Transport | None = None
        self._pieces: deque[bytes] = deque()
        self._due: asyncio.Handle | None = None
        self.ended = ""
        self._count_packets()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Pass the transport on; see asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass
        self.connection.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass one piece on now, and the rest in later iterations of the event loop."""
        if self.ended:
            return
        if self._due is None and len(data) <= PIECE:
            self.connection.data_received(data)
            return
        self._pieces.extend(data[start : start + PIECE] for start in range(0, len(data), PIECE))
        if self._due is None:
            self._next()

    def eof_received(self) -> bool | None:
        """Pass on the remaining data, then the end."""
        self._rest()
        ended: bool | None = self.connection.eof_received()
        return ended

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on the remaining data, then the loss of the connection."""
        self._rest()
        self.connection.connection_lost(exc)

    async def writable(self) -> None:
        """Wait while the send buffer holds WRITE_HIGH bytes or more, which happens if the server grants a very large window."""
        while (transport := self._transport) is not None and not transport.is_closing():
            if transport.get_write_buffer_size() < WRITE_HIGH:
                return
            await asyncio.sleep(0.01)

    def watch(self, channel: Any) -> None:
        """Refund packets of data that arrive on this channel; see Budget.was_data."""
        if hasattr(channel, "log_received_packet"):
            channel.log_received_packet = self._channel_packet

    def _count_packets(self) -> None:
        """Hook into asyncssh to count packets. A release without these (undocumented) methods is not limited; a test detects that."""
        connection = self.connection
        if all(hasattr(connection, name) for name in ("_recv_pkthdr", "log_received_packet")):
            self._take_header = connection._recv_pkthdr
            connection._recv_pkthdr = self._header
            connection.log_received_packet = self._packet

    def _header(self) -> bool:
        taken: bool = self._take_header()
        if taken:
            self._spend(1.0)
        return taken

    def _packet(self, kind: int, *_: object) -> None:
        if kind == _KEXINIT:
            self._spend(FOR_A_KEY_EXCHANGE)

    def _channel_packet(self, kind: int, _: object, packet: Any, *__: object) -> None:
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
