"""Read objects of an object store over HTTP, with presigned URLs.

The store is not trusted: the caller knows the length of what it reads and verifies its digest. A server that is silent, or slow for
long, is given up; no redirect is followed; certificates are verified; proxies of the environment are not used. A connection that is
cut is resumed with a range request. A URL is a secret: no error text contains one.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from typing import Callable, Optional
from urllib.parse import urlsplit

from replicator.agent.restore import http_connection
from replicator.agent.restore.http_connection import HttpConnection

ATTEMPTS = 6
"""Failures after which a part is given up. A timeout counts as three; each MiB that has arrived allows one more."""

FRESH = 2
"""Times that a new URL is requested for one part, after the store has refused the one before."""

PAUSE = 0.2
"""Seconds before the second attempt; they double with each further one."""

BUFFER = 1 << 20
"""Bytes that are read ahead, and the most that `Part.take` returns."""

_TEMPORARY = frozenset((408, 429, 500, 502, 503, 504))

_TIMEOUTS = (TimeoutError, socket.timeout)  # two classes before Python 3.10


class FetchFailed(Exception):
    """Raised when something cannot be read from the store; the text says why, and contains no URL."""


class _Refused(FetchFailed):
    """Raised when the store refuses a URL (403): it has expired, or was never valid."""


class _Busy(Exception):
    """Raised when the store has failed temporarily."""


class Connection:
    """A connection to one store at a time, kept open between requests; used by one thread.

    Args:
        stopped: set by another thread to end all reads.
        answered: set once the store has answered one of the connections that share it; until then it is given up early.
        hosts: the only hosts that may be contacted; None: any.
        turn: held by the thread while it works, and released while it reads; None: there is none.

    Attributes:
        received: bytes of objects so far.
    """

    def __init__(
        self,
        stopped: threading.Event,
        answered: threading.Event,
        hosts: Optional[frozenset[str]] = None,
        turn: Optional[threading.Lock] = None,
    ) -> None:
        self.stopped = stopped
        self.answered = answered
        self.received = 0
        self.turn = turn
        self._hosts = hosts
        self._place: tuple[str, str, int] = ("", "", 0)
        self._http: Optional[HttpConnection] = None
        self._used = False

    @property
    def is_reused(self) -> bool:
        """True if a request was answered on this connection, so that the server may have closed it since."""
        return self._used

    def request(self, url: str, start: int, end: int, size: int) -> http.client.HTTPResponse:
        """Request the bytes from `start` to `end` of an object of `size` bytes.

        Raises:
            FetchFailed: the store refuses, or answers with something else than these bytes.
            _Busy, OSError, http.client.HTTPException: a failure after which another attempt may succeed.
        """
        connection, target = self._connection(url)
        connection.expect(end - start, first=not self.answered.is_set())
        whole = start == 0 and end == size
        headers = {} if whole else {"Range": f"bytes={start}-{end - 1}"}
        connection.request("GET", target, headers=headers)
        response = connection.getresponse()
        self.answered.set()
        try:
            _check(response, 200 if whole else 206, end - start)
        except BaseException:
            response.close()
            raise
        self._used = True
        return response

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._http is not None:
            self._http.close()
        self._http, self._used = None, False

    def interrupt(self) -> None:
        """End a read in progress; called by another thread, after `stopped` was set."""
        if self._http is not None:
            self._http.interrupt()

    def _connection(self, url: str) -> tuple[HttpConnection, str]:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise FetchFailed("the URL is malformed") from None
        if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc:
            raise FetchFailed("the URL is not one of http or https")
        if self._hosts is not None and host not in self._hosts:
            raise FetchFailed(f"this agent may not contact {host} (--store)")
        place = (parts.scheme, host, port or (443 if parts.scheme == "https" else 80))
        if self._http is None or self._place != place:
            self.close()
            self._place, self._http = place, HttpConnection(place, self.stopped)
        return self._http, parts.path + ("?" + parts.query if parts.query else "")


class Part:
    """The bytes from `start` to `end` of one object, read in order.

    Args:
        connection: used by this part only, until its end.
        url: called with False for a URL of the object, and with True for one that was made after the last; it may wait.
        start: first byte.
        end: byte after the last.
        size: bytes in the object.
    """

    def __init__(
        self, connection: Connection, url: Callable[[bool], str], start: int, end: int, size: int
    ) -> None:
        self._connection = connection
        self._url = url
        self._start = self._at = start
        self._end = end
        self._size = size
        self._response: Optional[http.client.HTTPResponse] = None
        self._failures = self._refusals = 0
        self._begun = time.monotonic()
        self._buffer = bytearray(min(BUFFER, end - start))
        self._from = self._to = 0

    def __enter__(self) -> Part:  # noqa: PYI034  # no typing.Self on Python 3.9
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take(self, size: int) -> memoryview:
        """Return the next `size` bytes, at most BUFFER, valid until the next call.

        Raises:
            FetchFailed: they cannot be read.
        """
        view = memoryview(self._buffer)
        if self._to - self._from < size:
            left = self._to - self._from
            view[:left] = bytes(view[self._from : self._to])
            self._from, self._to = 0, left
            wanted = min(len(view) - left, self._end - self._at)
            self._fill(view[left : left + wanted])
            self._to += wanted
        self._from += size
        return view[self._from - size : self._from]

    def skip(self, size: int) -> None:
        """Read and discard the next `size` bytes. Raises FetchFailed."""
        while size:
            size -= len(self.take(min(size, len(self._buffer))))

    def close(self) -> None:
        """End the part; the connection stays open for the next one if everything was read."""
        if self._response is not None and not self._response.isclosed():
            self._response.close()
            self._connection.close()
        self._response = None

    def _fill(self, view: memoryview) -> None:
        """Read bytes until `view` is full; after a failure, continue where the last read has ended."""
        turn = self._connection.turn
        if turn is not None:
            turn.release()
        try:
            while view:
                count = self._read(view)
                self._at += count
                self._connection.received += count
                view = view[count:]
        finally:
            if turn is not None:
                turn.acquire()

    def _read(self, view: memoryview) -> int:
        """Read bytes into `view`; return their number, 0 after a failure."""
        try:
            if self._response is None:
                url = self._url(self._refusals > 0)
                self._response = self._connection.request(url, self._at, self._end, self._size)
            count = self._response.readinto(view)
        except (_Refused, _Busy, OSError, http.client.HTTPException, ValueError) as error:
            self._failed(error)
            return 0
        except FetchFailed:
            self.close()
            self._connection.close()
            raise
        if not count:
            self._failed(_Busy("the connection was cut"))
        return count

    def _failed(self, error: Exception) -> None:
        """Count a failure and wait before the next attempt; raise FetchFailed if there is none."""
        idle = self._connection.is_reused and self._response is None
        self.close()
        self._connection.close()
        if self._connection.stopped.is_set():
            raise FetchFailed("the restore was stopped") from None
        if isinstance(error, ssl.SSLCertVerificationError):
            raise FetchFailed(_reason(error)) from None  # it is the same at the next attempt
        if isinstance(error, _Refused):
            self._refusals += 1
            if self._refusals > FRESH:
                raise error
            return
        if idle and not isinstance(error, _Busy):
            return  # the server has closed a connection that was idle
        slow = isinstance(error, _TIMEOUTS)
        self._failures += 3 if slow else 1
        pause = min(PAUSE * 2 ** (self._failures - 1), 5.0)
        if self._failures >= ATTEMPTS + (self._at - self._start) // BUFFER:
            raise FetchFailed(_reason(error)) from None
        if not self._connection.answered.is_set() and (slow or self._waited(pause)):
            raise FetchFailed(_reason(error)) from None
        self._connection.stopped.wait(pause)

    def _waited(self, pause: float) -> bool:
        """Return True if a store that has never answered was tried for long enough, and another pause would be too much."""
        return time.monotonic() - self._begun + pause > http_connection.FIRST


def _check(response: http.client.HTTPResponse, status: int, length: int) -> None:
    """Verify that an answer has this status and length; see `Connection.request` for what is raised."""
    text = f"the store answers with status {response.status}"
    if response.status in _TEMPORARY:
        raise _Busy(text)
    if response.status == 403:
        raise _Refused(text)
    if response.status != status:
        raise FetchFailed(text)
    if response.length != length:
        raise FetchFailed("the store announces another length")


def _reason(error: Exception) -> str:
    """Return an error as a clause without URL: texts of http.client may contain it."""
    if isinstance(error, _Busy):
        return str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, _TIMEOUTS):
        return "the store is too slow, or silent"
    if isinstance(error, OSError):
        return f"the store cannot be reached: {error.strerror or type(error).__name__}"
    return f"the store's answer is malformed: {type(error).__name__}"
