"""One connection to one agent: sends messages, and passes each answer to the code that waits for it.

The connection knows which changes are in flight and how many bytes they are. What an answer means for the frontend is decided by
the sender of the change. A connection is ended if answers are due and the agent makes no progress.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager

from replicator.engine.bandwidth import Bandwidth
from replicator.engine.frontend.block_sums import BlockSumsRequests
from replicator.engine.frontend.handshake import AgentInfo, check_hello
from replicator.engine.frontend.in_flight import Answered, InFlight, InFlightTable
from replicator.engine.frontend.listings import CREDIT, Listings, Walk
from replicator.engine.frontend.paced_writer import PacedWriter
from replicator.engine.frontend.progress_timeout import ProgressTimeout
from replicator.engine.frontend.restoring import Restoring
from replicator.engine.loop import loop_time
from replicator.errors import AgentFailed, ChannelLost, ProtocolError
from replicator.ports import Channel
from replicator.wire import compression, frames, messages
from replicator.wire.changes import Change
from replicator.wire.fields import text_of
from replicator.wire.messages import (
    Acks,
    Batch,
    BlockSums,
    Digests,
    DigestTree,
    Hello,
    Listing,
    ListTree,
    NeedUrls,
    Opened,
    OpenTree,
    Origin,
    Restored,
    Sources,
)

SLICE = 64
"""Frames that are handled before other tasks run: many small frames of one agent must not delay the other frontends."""


class Connection:
    """A connection to one agent.

    Args:
        channel: connected; the agent has written its marker.
        answered: called for each answer to a change that was sent with `send`, on the event loop.
        room: called when there may be room for more bulk.
        bandwidth: limit of what is sent on all connections together; default: none.

    Attributes:
        agent: what the agent has reported about itself.
        block_sums: has the agent sum files.
        bytes_sent: bytes sent since the connection began.
        progress_timeout: ends the connection if answers are due and there is no progress.
        restoring: has the agent restore a tree from its base.
        window: limit of the bulk bytes that the agent has not acknowledged.
    """

    def __init__(
        self,
        channel: Channel,
        answered: Answered,
        room: Callable[[], None],
        bandwidth: Bandwidth | None = None,
    ) -> None:
        self.agent = AgentInfo()
        self.bytes_sent = 0
        self._channel = channel
        self._room = room
        self._decoder = frames.Decoder()
        self._closed = ""
        self._hello: asyncio.Future[Hello] = asyncio.get_running_loop().create_future()
        self._opening: dict[int, asyncio.Future[Opened]] = {}
        self._sources = Origin()
        self._unsent_sources = b""
        self._sources_changed = asyncio.Event()
        self.progress_timeout = ProgressTimeout(self._unanswered)
        self._bandwidth = bandwidth or Bandwidth()
        self._writer = PacedWriter(channel, self._bandwidth, self.progress_timeout.progressed_by)
        self._in_flight = InFlightTable(answered, self.progress_timeout)
        self._listings = Listings(self._send_message, self.progress_timeout)
        self.restoring = Restoring(self._send_message)
        self.block_sums = BlockSumsRequests(self._send_message, self.progress_timeout)
        self.window = self._in_flight.window

    @property
    def has_room(self) -> bool:
        """True if more bulk may be sent now. Requests for listings, which are not acknowledged, do not count."""
        return self._in_flight.has_room(self.bytes_sent)

    def is_in_flight(self, number: int) -> bool:
        """Return True if a change was sent and is not answered yet."""
        return number in self._in_flight

    async def receive(self) -> None:
        """Receive messages until the connection ends.

        Raises:
            ChannelLost: when it ends.
            ProtocolError: if the agent violates the protocol.
        """
        while True:
            data = await self._channel.read()
            if not data:
                last_output = self._channel.diagnosis()
                suffix = f": {last_output}" if last_output else ""
                raise ChannelLost(f"the agent has ended{suffix}")
            self._decoder.receive(data)
            handled = self._decoder.taken
            for count, frame in enumerate(self._decoder.frames(), 1):
                self._handle(
                    messages.decode(frame.header), frame.payload, self._decoder.taken - handled
                )
                handled = self._decoder.taken
                if count % SLICE == 0:
                    await asyncio.sleep(0)

    async def exchange_hello(self, about: str = "replicator backend") -> None:
        """Exchange hellos.

        Args:
            about: name of this backend, the same for all connections to a frontend: of the agents with the same name, only the
                newest may write.

        Raises:
            ProtocolError: if the agent has another version of the protocol.
        """
        await self._send_message(Hello(messages.VERSION, messages.FEATURES, about))
        self.agent = check_hello(await self._hello)

    async def open_tree(self, request: OpenTree) -> Opened:
        """Have the agent open a tree's target directory.

        Raises:
            AgentFailed: if the target cannot be used, with the reason.
        """
        self.progress_timeout.requesting()
        self._sources = request.origin
        answer = self._opening[request.tree] = asyncio.get_running_loop().create_future()
        await self._send_message(request)
        opened: Opened = await answer
        if opened.error:
            raise AgentFailed(
                f"the target {text_of(request.root)!r} cannot be used: {opened.error}"
            )
        return opened

    def sources_moved(self, origin: Origin) -> None:
        """Send the agent the location of the sources, ahead of the next message."""
        if "sources" in self.agent.features and origin != self._sources:
            self._sources = origin
            self._unsent_sources = frames.encode(Sources(origin).header())
            self._sources_changed.set()

    async def send_sources(self) -> None:
        """Send the location of the sources after each change of it, until cancelled.

        Raises:
            ChannelLost: if the connection is lost.
        """
        while True:
            await self._sources_changed.wait()
            self._sources_changed.clear()
            if self._unsent_sources:  # not sent ahead of another message meanwhile
                await self._write(b"")

    async def send(
        self, encoded: Sequence[bytes], in_flights: Sequence[InFlight], *, work: int = 0
    ) -> None:
        """Send frames; their changes are in flight from now on.

        Args:
            encoded: the frames.
            in_flights: the changes that they begin.
            work: bytes that the agent must copy for them, beside the work of the changes.

        Raises:
            ChannelLost: if the connection is lost.
        """
        self._in_flight.add(in_flights)
        urgent = bool(in_flights) and not in_flights[0].bulk
        if "compress" not in self.agent.features:
            encoded = [compression.plain(frame) for frame in encoded]
        if work:
            self._in_flight.add_work(self.bytes_sent + sum(map(len, encoded)), work)
        for frame in encoded:
            self.window.sent(self.bytes_sent + len(frame), loop_time())
            await self._write(frame, urgent=urgent)

    def hurry(self) -> None:
        """Send what is being sent before the bulk of other frontends: a live change waits behind it."""
        self._writer.hurry()

    async def ask(self, change: Change, content: bytes = b"") -> str:
        """Send one change and wait for the answer: the reason why it was refused, or an empty string.

        Raises:
            ChannelLost: if the connection is lost.
        """
        with self._in_flight.request(change.number) as answer:
            await self._write(frames.encode(Batch((change,)).header(), [content]))
            return await answer

    @property
    def lines_listed(self) -> int:
        """Lines of listings that were received since the connection began."""
        return self._listings.lines

    def close(self, reason: str) -> None:
        """End all calls that wait for an answer; later calls raise ChannelLost."""
        self._closed = reason
        self._writer.close()
        self._listings.close(reason)
        self.restoring.close(reason)
        self.block_sums.close(reason)
        self._in_flight.cancel_requests()
        self._hello.cancel()
        for opening in self._opening.values():
            opening.cancel()

    def listing(
        self,
        tree: int,
        below: bytes,
        *,
        digest: bool,
        after: bytes = b"",
        rate: int = 0,
        gives_way: bool = False,
        walk: int = 0,
    ) -> AbstractAsyncContextManager[AsyncIterator[Listing]]:
        """List the paths below a directory of the frontend. One listing runs at a time; others wait.

        Args:
            tree: number of the tree.
            below: the directory.
            digest: the agent reads all files, and adds their digests.
            after: list only the paths after this one; an agent of an earlier release lists all.
            rate: bytes per second that the agent may hash; 0: no limit. An agent of an earlier release knows none.
            gives_way: stop before the end of the listing when a caller that does not give way requests one.
            walk: job of a `walk`; what is below directories whose digests are equal is left out. 0: everything is listed.
        """
        known = self.agent.features
        request = ListTree(
            0,
            tree,
            below,
            digest,
            CREDIT,
            after if "after" in known else b"",
            rate if "rate" in known else 0,
            walk,
        )
        return self._listings.listing(request, gives_way=gives_way)

    def walk(
        self, tree: int, below: bytes, bits: int, skipped: tuple[bytes, ...]
    ) -> AbstractAsyncContextManager[Walk] | None:
        """Have the agent make the digests of the directories below one; return None if it is of a release that cannot.

        Args:
            tree: number of the tree.
            below: the directory.
            bits: mode bits that count.
            skipped: paths that do not count, with everything below them.
        """
        if "digests" not in self.agent.features:
            return None
        return self._listings.walk(DigestTree(0, tree, below, bits, CREDIT, skipped))

    def _unanswered(self) -> str:
        """Return what is overdue if the agent makes no progress, as a clause; empty if nothing."""
        if self._in_flight:
            return f"no answer to {len(self._in_flight)} changes"
        if self._listings.is_due:
            return "no answer to the request for a listing"
        if self.block_sums.is_due:
            return "no answer to the request for block sums"
        if self._opening:
            return "no answer to the request to open a target"
        return "" if self.has_room else "the agent has not read what was sent"

    def _handle(self, message: messages.Message, payload: bytes, size: int) -> None:
        if isinstance(message, Acks):
            hashing = self._listings.is_hashing
            self._in_flight.acknowledge(message, size, self.bytes_sent, is_hashing=hashing)
            self._room()
        elif isinstance(message, Listing | Digests):
            self._listings.receive(message)
        elif isinstance(message, Opened):
            waiting = self._opening.pop(message.tree, None)
            if waiting is None or waiting.done():
                raise ProtocolError("the agent has opened what it was not asked for")
            waiting.set_result(message)
            self.progress_timeout.progressed()
        elif isinstance(message, (NeedUrls, Restored)):
            self.restoring.receive(message)
        elif isinstance(message, BlockSums):
            self.block_sums.receive(message, payload)
        elif isinstance(message, Hello) and not self._hello.done():
            self._hello.set_result(message)
        else:
            raise ProtocolError(f"unexpected message {type(message).__name__}")

    async def _send_message(self, message: messages.Message) -> None:
        await self._write(frames.encode(message.header()))

    async def _write(self, frame: bytes, *, urgent: bool = True) -> None:
        if self._closed:
            raise ChannelLost(self._closed)
        if self._unsent_sources:
            frame, self._unsent_sources = self._unsent_sources + frame, b""
        self.bytes_sent += len(frame)
        if self._bandwidth.is_limited or self._writer.pending:
            await self._writer.write(frame, urgent=urgent)
        else:
            await self._channel.write(frame)
