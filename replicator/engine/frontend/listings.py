"""Listings of what a frontend holds, one at a time, a few frames ahead of whoever reads them.

An agent lists only as much as it was given credit for: one that lists freely would block on a full channel while changes wait
behind it.
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
"""Frames of a listing that may be under way: enough to hide the round trip, about 300 KB."""

QUEUE = 2 * CREDIT

LINES_PER_SECOND = 10
"""A listing that is slower than that in the long run makes no progress: a cold disk gives hundreds."""


class Listings:
    """Asks one agent for listings, and takes them in.

    Args:
        say: sends a message to the agent.
        progress_timeout: is told when the agent is asked, and when it has listed something.

    Attributes:
        lines: listed since the connection began.
    """

    def __init__(
        self, say: Callable[[ListTree | More], Awaitable[None]], progress_timeout: ProgressTimeout
    ) -> None:
        self._say = say
        self._progress_timeout = progress_timeout
        self._one_at_a_time = asyncio.Lock()
        self._wanted = 0
        self._closed = ""
        self.lines = 0
        self._job = 0
        self._lines: deque[Listing] = deque()
        self._news = asyncio.Event()
        self._due = 0
        self._granted = 0
        self._reads_contents = False

    @property
    def is_due(self) -> bool:
        """True if the agent owes frames of a listing."""
        return self._due > 0

    @property
    def is_hashing(self) -> bool:
        """True if the agent reads contents for what it owes: then it has a reason to say nothing but that it is alive."""
        return self._reads_contents and self.is_due

    @asynccontextmanager
    async def listing(
        self, request: ListTree, *, gives_way: bool
    ) -> AsyncIterator[AsyncIterator[Listing]]:
        """List what the frontend holds below a directory; see `engine.link.Link.listing`.

        Args:
            request: what to ask for; the job's number is set here.
            gives_way: end when somebody else wants a listing who does not give way.
        """
        async with self._turn(gives_way=gives_way):
            self._check()
            self._job += 1
            job = self._job
            self._lines.clear()
            self._due = 0  # what came of an abandoned one may have made it less
            self._grant(CREDIT)
            self._reads_contents = request.digest
            await self._say(request._replace(job=job))
            try:
                yield self._listed(job, gives_way=gives_way)
                # Not after a failure: a channel that takes nothing would hold up whoever gives up.
                await self._say(More(job, 0))
            finally:
                self._due = 0

    def take(self, listing: Listing) -> None:
        """Take in what the agent lists.

        Raises:
            ProtocolError: it is more than was asked for, or nothing.
        """
        self._granted -= 1
        if self._granted < 0:
            raise ProtocolError("the agent lists more than it was asked for")
        if listing.job != self._job:  # of one that was abandoned
            return
        said = len(listing.lines) + len(listing.unlisted)
        self.lines += said
        if not said and not listing.end:
            raise ProtocolError("the agent lists nothing, without an end")
        if len(self._lines) >= QUEUE:
            raise ProtocolError("the agent lists more than it was asked for")
        self._lines.append(listing)
        self._news.set()
        self._due = 0 if listing.end else self._due - 1
        self._progress_timeout.progressed_by(said / LINES_PER_SECOND)

    def close(self, reason: str) -> None:
        """The connection has ended: whoever waits for a listing ends with ChannelLost."""
        self._closed = reason
        self._news.set()

    def _check(self) -> None:
        if self._closed:
            raise ChannelLost(self._closed)

    @asynccontextmanager
    async def _turn(self, *, gives_way: bool) -> AsyncIterator[None]:
        """Hold the one listing. Who does not give way is waited for by nobody who does."""
        self._wanted += not gives_way
        self._news.set()
        try:
            await self._one_at_a_time.acquire()
        finally:
            self._wanted -= not gives_way
        try:
            yield
        finally:
            self._one_at_a_time.release()

    async def _listed(self, job: int, *, gives_way: bool) -> AsyncIterator[Listing]:
        while True:
            while not self._lines:
                self._check()
                if gives_way and self._wanted:
                    return
                self._news.clear()
                await self._news.wait()
            listing = self._lines.popleft()
            yield listing
            if listing.end:
                return
            if not (gives_way and self._wanted):
                self._grant(1)
                await self._say(More(job, 1))

    def _grant(self, credit: int) -> None:
        self._progress_timeout.asking()
        self._due += credit
        self._granted += credit
