"""Listings of what a frontend holds, one at a time, a few frames ahead of whoever reads them.

An agent lists only as much as it was given credit for: one that lists freely would block on a full channel while changes wait
behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from replicator.engine.patience import Patience
from replicator.errors import ProtocolError
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
        patience: is told when the agent is asked, and when it has listed something.
    """

    def __init__(
        self, say: Callable[[ListTree | More], Awaitable[None]], patience: Patience
    ) -> None:
        self._say = say
        self._patience = patience
        self._one_at_a_time = asyncio.Lock()
        self._job = 0
        self._lines: asyncio.Queue[Listing] = asyncio.Queue(QUEUE)
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
        self, tree: int, below: bytes, *, digest: bool
    ) -> AsyncIterator[AsyncIterator[Listing]]:
        """List what the frontend holds below a directory; see `engine.link.Link.listing`."""
        async with self._one_at_a_time:
            self._job += 1
            job = self._job
            while not self._lines.empty():
                self._lines.get_nowait()
            self._due = 0  # what came of an abandoned one may have made it less
            self._grant(CREDIT)
            self._reads_contents = digest
            await self._say(ListTree(job, tree, below, digest, CREDIT))
            try:
                yield self._listed(job)
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
        if not said and not listing.end:
            raise ProtocolError("the agent lists nothing, without an end")
        if self._lines.full():
            raise ProtocolError("the agent lists more than it was asked for")
        self._lines.put_nowait(listing)
        self._due = 0 if listing.end else self._due - 1
        self._patience.progressed_by(said / LINES_PER_SECOND)

    async def _listed(self, job: int) -> AsyncIterator[Listing]:
        while True:
            listing = await self._lines.get()
            yield listing
            if listing.end:
                return
            self._grant(1)
            await self._say(More(job, 1))

    def _grant(self, credit: int) -> None:
        self._patience.asking()
        self._due += credit
        self._granted += credit
