"""Listings of the paths on a frontend: one at a time, a few frames ahead of the caller.

An agent lists only as much as it was given credit for. One that lists freely would block on a full channel while changes wait
behind the listing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from replicator.engine.frontend.progress_timeout import ProgressTimeout
from replicator.errors import ChannelLost, ProtocolError
from replicator.wire.messages import Listing, ListTree, More

CREDIT = 4
"""Frames of a listing that may be in flight, about 300 KB: enough to hide the round trip."""

QUEUE = 2 * CREDIT

LINES_PER_SECOND = 10
"""A listing that is slower than this on average makes no progress; a cold disk allows hundreds."""


class Listings:
    """Requests listings from one agent, and receives them.

    Args:
        send: sends a message to the agent.
        progress_timeout: notified of each request, and of the lines that arrive.

    Attributes:
        lines: number of lines received since the connection began.
    """

    def __init__(
        self, send: Callable[[ListTree | More], Awaitable[None]], progress_timeout: ProgressTimeout
    ) -> None:
        self._send = send
        self._progress_timeout = progress_timeout
        self._lock = asyncio.Lock()
        self._waiting = 0
        self._closed = ""
        self.lines = 0
        self._job = 0
        self._received: deque[Listing] = deque()
        self._changed = asyncio.Event()
        self._due = 0
        self._granted = 0
        self._hashing = False

    @property
    def is_due(self) -> bool:
        """True if the agent has yet to send frames of a listing."""
        return self._due > 0

    @property
    def is_hashing(self) -> bool:
        """True if the agent reads contents for the frames that are due, and so may send nothing but signs of life for a while."""
        return self._hashing and self.is_due

    @asynccontextmanager
    async def listing(
        self, request: ListTree, *, gives_way: bool
    ) -> AsyncIterator[AsyncIterator[Listing]]:
        """List the paths below a directory; see `Connection.listing`.

        Args:
            request: the request; its job number is set here.
            gives_way: stop when a caller that does not give way requests a listing.
        """
        async with self._exclusive(gives_way=gives_way):
            self._check()
            self._job += 1
            job = self._job
            self._received.clear()
            self._due = 0  # frames of an abandoned listing may have reduced it
            self._grant(CREDIT)
            self._hashing = request.digest
            await self._send(request._replace(job=job))
            try:
                yield self._read(job, gives_way=gives_way)
                # Not after a failure: a full channel would block the caller.
                await self._send(More(job, 0))
            finally:
                self._due = 0

    def receive(self, listing: Listing) -> None:
        """Receive a frame of a listing.

        Raises:
            ProtocolError: if there was no credit for it, or it is empty.
        """
        self._granted -= 1
        if self._granted < 0:
            raise ProtocolError("the agent lists more than it was asked for")
        if listing.job != self._job:  # of an abandoned listing
            return
        count = len(listing.lines) + len(listing.unlisted)
        self.lines += count
        if not count and not listing.end:
            raise ProtocolError("the agent lists nothing, without an end")
        if len(self._received) >= QUEUE:
            raise ProtocolError("the agent lists more than it was asked for")
        self._received.append(listing)
        self._changed.set()
        self._due = 0 if listing.end else self._due - 1
        self._progress_timeout.progressed_by(count / LINES_PER_SECOND)

    def close(self, reason: str) -> None:
        """End all listings: their callers get ChannelLost."""
        self._closed = reason
        self._changed.set()

    def _check(self) -> None:
        if self._closed:
            raise ChannelLost(self._closed)

    @asynccontextmanager
    async def _exclusive(self, *, gives_way: bool) -> AsyncIterator[None]:
        """Hold the lock for listings. A caller that gives way releases it to one that does not."""
        self._waiting += not gives_way
        self._changed.set()
        try:
            await self._lock.acquire()
        finally:
            self._waiting -= not gives_way
        try:
            yield
        finally:
            self._lock.release()

    async def _read(self, job: int, *, gives_way: bool) -> AsyncIterator[Listing]:
        while True:
            while not self._received:
                self._check()
                if gives_way and self._waiting:
                    return
                self._changed.clear()
                await self._changed.wait()
            listing = self._received.popleft()
            yield listing
            if listing.end:
                return
            if not (gives_way and self._waiting):
                self._grant(1)
                await self._send(More(job, 1))

    def _grant(self, credit: int) -> None:
        self._progress_timeout.requesting()
        self._due += credit
        self._granted += credit
