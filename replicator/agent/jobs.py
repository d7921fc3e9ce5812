"""What the agent produces for the backend between two frames: a listing or the digests of directories, and sums of blocks.

They are produced in small steps, and only while no input is waiting, so that live changes never wait for them.
"""

from __future__ import annotations

from typing import Callable, Optional, Union

from replicator.agent.digesting import DigestJob
from replicator.agent.listing import ListingJob
from replicator.agent.store import Store
from replicator.agent.summing import Summing
from replicator.wire.messages import Descend, DigestTree, ListTree, Message, More, SumBlocks


class Jobs:
    """The listing or walk in progress, the result of the last walk, and the requests for sums.

    Args:
        send: sends an answer and its payload.
        progressed: called after a step without an answer.
    """

    def __init__(
        self, send: Callable[[Message, bytes], None], progressed: Callable[[], None]
    ) -> None:
        self._send = send
        self._progressed = progressed
        self._job: Union[ListingJob, DigestJob, None] = None
        self._walk: Optional[DigestJob] = None
        self._summing = Summing()

    def begin_listing(self, store: Store, request: ListTree) -> None:
        """Begin a listing; end the one or the walk in progress.

        Raises:
            Fenced: a newer agent has taken over.
        """
        walk = self._walk
        if walk is not None and (walk.job != request.walk or walk.store is not store):
            walk = None
        self._job = ListingJob(store, request, walk)

    def begin_walk(self, store: Store, request: DigestTree) -> None:
        """Begin a walk; end the one or the listing in progress.

        Raises:
            Fenced: a newer agent has taken over.
        """
        self._job = self._walk = DigestJob(store, request)

    def descend(self, request: Descend) -> None:
        """Send more digests of the last walk; ignore requests about earlier ones."""
        if self._walk is not None and self._walk.job == request.job:
            self._walk.descend(request)
            self._job = self._walk

    def more(self, more: More) -> None:
        """Grant more frames to the listing or walk in progress; without any, end it."""
        if self._job is not None and self._job.job == more.job:
            self._job.credit += more.credit
            if more.credit == 0:
                self._job = None

    def sum_blocks(self, store: Store, request: SumBlocks) -> None:
        """Sum blocks of a file, after those that were asked for earlier.

        Raises:
            ProtocolError: too many requests are waiting.
        """
        self._summing.add(store, request)

    def closed(self, store: Store) -> None:
        """End everything about a tree whose root is about to be closed: the number of its descriptor may be reused."""
        if self._job is not None and self._job.store is store:
            self._job = None
        if self._walk is not None and self._walk.store is store:
            self._walk = None
        for ended in self._summing.closed(store):
            self._send(ended, b"")

    def drop(self) -> None:
        """End the listing or walk in progress, and close the directories that it reads."""
        self._job = self._walk = None

    def pause(self) -> Optional[float]:
        """Return the seconds until the next step is due; None if there is nothing to do, or the backend has granted no credit."""
        if self._summing:
            return 0.0
        if self._job is not None and self._job.credit > 0:
            return self._job.pause()
        return None

    def step(self) -> None:
        """Work for a few milliseconds, and send what is complete: first on sums, then on the listing or walk."""
        if self._summing:
            summed = self._summing.step()
            if summed is not None:
                self._send(summed.message, summed.rows)
        if self._job is not None and self._job.credit > 0:
            listing = self._job.step()
            if listing is None:
                self._progressed()
                return
            if listing.end:
                self._job = None
            self._send(listing, b"")
