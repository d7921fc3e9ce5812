"""Listings of the paths on a frontend: one at a time, a few frames ahead of the caller.

An agent lists only as much as it was given credit for. One that lists freely would block on a full channel while changes wait
behind the listing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from replicator.engine.frontend.progress_timeout import ProgressTimeout
from replicator.errors import ChannelLost, ProtocolError
from replicator.wire.messages import Descend, Digests, DigestTree, Listing, ListTree, More

CREDIT = 4
"""Frames of a listing that may be in flight, about 300 KB: enough to hide the round trip."""

QUEUE = 2 * CREDIT

LINES_PER_SECOND = 10
"""A listing that is slower than this on average makes no progress; a cold disk allows hundreds."""


Answer = TypeVar("Answer", Listing, Digests)


@dataclass(frozen=True)
class Walk:
    """A walk on a frontend, for digests of directories.

    Attributes:
        job: its number, which a request for a listing may name.
        answer: returns the frames of the first answer.
        descend: returns the frames of the answer to one `Descend`, after the last answer has ended; the arguments are its fields.
    """

    job: int
    answer: Callable[[], AsyncIterator[Digests]]
    descend: Callable[[Sequence[bytes], Sequence[bytes]], AsyncIterator[Digests]]


class Listings:
    """Requests listings from one agent, and receives them.

    Args:
        send: sends a message to the agent.
        progress_timeout: notified of each request, and of the lines that arrive.

    Attributes:
        lines: number of lines received, and of paths walked for digests, since the connection began.
    """

    def __init__(
        self,
        send: Callable[[ListTree | More | DigestTree | Descend], Awaitable[None]],
        progress_timeout: ProgressTimeout,
    ) -> None:
        self._send = send
        self._progress_timeout = progress_timeout
        self._lock = asyncio.Lock()
        self._waiting = 0
        self._closed = ""
        self.lines = 0
        self._job = 0
        self._received: deque[Listing | Digests] = deque()
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
        async with self._job_of(request, gives_way=gives_way) as job:
            yield self._read(Listing, job, gives_way=gives_way)

    @asynccontextmanager
    async def walk(self, request: DigestTree) -> AsyncIterator[Walk]:
        """Have the agent make the digests of the directories below one.

        Args:
            request: the request; its job number is set here.
        """
        async with self._job_of(request, gives_way=False) as job:
            yield Walk(job, partial(self._read, Digests, job), partial(self._descend, job))

    async def _descend(
        self, job: int, opened: Sequence[bytes], whole: Sequence[bytes]
    ) -> AsyncIterator[Digests]:
        # The end of the last answer was not followed by More: the agent has one frame of credit less than at the beginning.
        self._grant(1)
        self._due = CREDIT
        await self._send(Descend(job, tuple(opened), tuple(whole)))
        async for digests in self._read(Digests, job):
            yield digests

    @asynccontextmanager
    async def _job_of(
        self, request: ListTree | DigestTree, *, gives_way: bool
    ) -> AsyncIterator[int]:
        """Send a request, with a new job number, and yield that number; nothing else is listed meanwhile."""
        async with self._exclusive(gives_way=gives_way):
            self._check()
            self._job += 1
            job = self._job
            self._received.clear()
            self._due = 0  # frames of an abandoned listing may have reduced it
            self._grant(CREDIT)
            self._hashing = isinstance(request, ListTree) and request.digest
            await self._send(request._replace(job=job))
            try:
                yield job
                # Not after a failure: a full channel would block the caller.
                await self._send(More(job, 0))
            finally:
                self._due = 0

    def receive(self, listing: Listing | Digests) -> None:
        """Receive a frame of a listing or of digests.

        Raises:
            ProtocolError: if there was no credit for it, or it is empty.
        """
        self._granted -= 1
        if self._granted < 0:
            raise ProtocolError("the agent lists more than it was asked for")
        if listing.job != self._job:  # of an abandoned listing
            return
        if isinstance(listing, Listing):
            count = len(listing.lines) + len(listing.unlisted)
        else:
            count = listing.walked + len(listing.rows)
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

    async def _read(
        self, kind: type[Answer], job: int, *, gives_way: bool = False
    ) -> AsyncIterator[Answer]:
        while True:
            while not self._received:
                self._check()
                if gives_way and self._waiting:
                    return
                self._changed.clear()
                await self._changed.wait()
            listing = self._received.popleft()
            if not isinstance(listing, kind):
                raise ProtocolError("the agent answers what it was not asked")
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
