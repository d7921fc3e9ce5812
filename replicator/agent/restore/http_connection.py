"""An HTTP connection that verifies certificates and does not wait for long."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import threading
import time
from contextlib import suppress
from functools import cache
from typing import Any

Buffer = Any  # collections.abc.Buffer of Python 3.12

CONNECT = 2.0
"""Seconds to establish a connection to one address: enough for one lost packet, which is sent again after 1 s."""

FIRST = 4.0
"""Seconds for the first answer of a store that has never answered: nothing comes over SSH meanwhile. S3 takes 0.1 to 0.2 s."""

GRACE = 10.0
"""Seconds that a request may take beyond the time for its bytes; so much silence ends it."""

RATE = 256 << 10
"""Bytes per second that a store must deliver; a connection to S3 delivers a hundred times as much."""

HEAD = 256 << 10
"""Bytes of an answer beyond its body. http.client limits each header, but not the number of preliminary answers (100 Continue)."""


class HttpConnection(http.client.HTTPConnection):
    """An HTTP connection that neither waits for long, nor reads more than was requested."""

    def __init__(self, place: tuple[str, str, int], stopped: threading.Event) -> None:
        scheme, host, port = place
        super().__init__(host, port)
        self.default_port = 443 if scheme == "https" else 80  # for the header Host, which is signed
        self._patience = GRACE
        self._room = HEAD
        self.stopped = stopped
        self._secure = scheme == "https"

    def connect(self) -> None:
        """Connect, and verify the server's certificate."""
        plain = _connected(self.host, self.port)
        with suppress(OSError):
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock: Any = _Socket(plain, self)
        if self._secure:
            plain.settimeout(CONNECT)
            self.sock.use(
                context().wrap_socket(
                    plain, server_hostname=self.host, do_handshake_on_connect=False
                )
            )
            self.sock.handshake()

    def expect(self, size: int, *, first: bool) -> None:
        """Prepare for the answer to a request, whose body has `size` bytes; `first`: the store has never answered."""
        self._patience, self._room = min(FIRST, GRACE) if first else GRACE, size + HEAD

    def left(self) -> float:
        """Return the seconds that the next read or write may take. Raises TimeoutError if there are none."""
        if self._patience <= 0 or self._room <= 0 or self.stopped.is_set():
            raise TimeoutError
        return self._patience

    def received(self, count: int, seconds: float) -> None:
        """Record that a read returned so many bytes, after waiting so long.

        The time between two reads does not count: a slow disk is not the store's fault.
        """
        self._room -= count
        self._patience = min(self._patience + count / RATE - seconds, 2 * GRACE)

    def interrupt(self) -> None:
        """End a read in progress; called by another thread."""
        if isinstance(self.sock, _Socket):
            self.sock.interrupt()


class _Socket:
    """What http.client needs of a socket; each call waits no longer than the connection allows."""

    def __init__(self, sock: socket.socket, connection: HttpConnection) -> None:
        self._sock = sock
        self._connection = connection
        self._readers = 0
        self._closed = False

    def use(self, sock: ssl.SSLSocket) -> None:
        """Use this socket, which has taken over the descriptor, from now on."""
        self._sock = sock

    def handshake(self) -> None:
        """Make the TLS handshake. Raises OSError."""
        assert isinstance(self._sock, ssl.SSLSocket)
        self._sock.settimeout(self._connection.left())
        self._sock.do_handshake()

    def sendall(self, data: bytes) -> None:
        """Write all of `data`. Raises OSError."""
        self._sock.settimeout(self._connection.left())
        self._sock.sendall(data)

    def recv_into(self, buffer: Buffer) -> int:
        """Read some bytes; return their number, 0 at the end. Raises OSError."""
        self._sock.settimeout(self._connection.left())
        begun = time.monotonic()
        count = self._sock.recv_into(buffer)
        self._connection.received(count, time.monotonic() - begun)
        return count

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return a reader for one response; the socket stays open until it is closed, as with socket.makefile."""
        self._readers += 1
        return io.BufferedReader(_Input(self), 16 << 10)

    def reader_closed(self) -> None:
        """Record that a reader was closed."""
        self._readers -= 1
        if self._closed and not self._readers:
            self._sock.close()

    def interrupt(self) -> None:
        """End a read in progress; called by another thread."""
        with suppress(
            OSError
        ):  # socket's own method: that of ssl.SSLSocket is not made for two threads
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket, once no response is read from it any more."""
        self._closed = True
        if not self._readers:
            self._sock.close()


class _Input(io.RawIOBase):
    """The bytes of one response."""

    def __init__(self, sock: _Socket) -> None:
        self._sock = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        return self._sock.recv_into(buffer)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._sock.reader_closed()


def _connected(host: str, port: int) -> socket.socket:
    """Return a socket that is connected to the first address of each family that answers. Raises OSError.

    All other addresses are left out: S3 has eight, and a network that drops packets to one drops those to all.
    """
    failure = OSError("the host has no address")
    families = set()
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM):
        if family in families:
            continue
        families.add(family)
        try:
            plain = socket.socket(family, kind, protocol)
        except OSError as error:  # a family that the kernel lacks
            failure = error
            continue
        try:
            plain.settimeout(CONNECT)
            plain.connect(address)
        except OSError as error:
            plain.close()
            failure = error
        else:
            return plain
    raise failure


@cache
def context() -> ssl.SSLContext:
    """Return a context that verifies certificates and host names with the system's authorities."""
    return ssl.create_default_context()
