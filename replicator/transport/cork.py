"""Write many SSH packets with one system call.

asyncssh writes each packet (at most 32 KB) separately, and sends an empty SSH_MSG_IGNORE before each, as a defence against attacks on
CBC ciphers (Bellare, Kohno, Namprempre, 2002). Other ciphers do not need it, and RFC 4253 makes the message optional. With ten
frontends being bootstrapped, this took half of the event loop's time. This module uses undocumented attributes of a connection; if a
release of asyncssh lacks one of them, it changes nothing, and the connection is only slower.
"""

from __future__ import annotations

import asyncio
from typing import Any

MSG_IGNORE = 2

HIGH = 256 << 10
"""Bytes of collected packets at which they are written: enough for an efficient system call, little memory."""


class Cork:
    """Collects the packets of one connection until the event loop's next iteration, or until `flush`.

    Args:
        connection: an authenticated asyncssh connection.

    Attributes:
        works: False if this release of asyncssh lacks an attribute that is needed; then nothing is collected.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._packets: list[bytes] = []
        self._size = 0
        self._due: asyncio.Handle | None = None
        self.works = _has_all(connection)
        if self.works:
            if not str(connection.get_extra_info("send_cipher")).endswith("-cbc"):
                self._send_packet = connection.send_packet
                connection.send_packet = self._without_ignore
            connection._send = self._collect

    def flush(self) -> None:
        """Write the collected packets."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        packets, self._packets, self._size = self._packets, [], 0
        if not packets:
            return
        transport = self._connection._transport
        if transport is not None and not transport.is_closing():
            transport.writelines(packets)

    def _collect(self, packet: bytes) -> None:
        self._packets.append(packet)
        self._size += len(packet)
        if self._size >= HIGH:
            self.flush()
        elif self._due is None:
            self._due = asyncio.get_running_loop().call_soon(self.flush)

    def _without_ignore(self, kind: int, *args: bytes, **options: Any) -> None:
        if kind != MSG_IGNORE:
            self._send_packet(kind, *args, **options)


def _has_all(connection: Any) -> bool:
    """Return True if a connection has all attributes that Cork uses."""
    transport = getattr(connection, "_transport", None)
    needed = [
        getattr(connection, name, None) for name in ("send_packet", "_send", "get_extra_info")
    ]
    needed += [getattr(transport, name, None) for name in ("writelines", "is_closing")]
    return all(map(callable, needed))
