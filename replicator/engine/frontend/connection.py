"""One connection to one agent: messages out, answers in.

The link knows which changes are under way and how many bytes that is; what an answer means for the frontend is decided by
whoever sent the change. An agent that owes answers and makes no progress is given up.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

from replicator.core.pace import Window
from replicator.engine.changes.encode import ChangeRef
from replicator.engine.frontend.listings import CREDIT, Listings
from replicator.engine.frontend.progress_timeout import ProgressTimeout
from replicator.errors import AgentFailed, ChannelLost, ProtocolError
from replicator.ports import Channel
from replicator.wire import frames, messages
from replicator.wire.changes import Change
from replicator.wire.fields import text_of
from replicator.wire.messages import (
    Acks,
    Batch,
    Hello,
    Listing,
    ListTree,
    Opened,
    OpenTree,
    Origin,
    Sources,
)

SLICE = 64
"""Frames handled before everybody else has a turn: a flood of small ones must not hold up the other frontends."""

EMPTY_ACKS = 20
"""Acknowledgements in a row that say nothing new. An agent has a reason for a few."""

WORK = 16 << 20
"""Bytes that an agent may be reading or copying by itself before more bulk is sent: a live change behind it waits for that."""

_BOOT = re.compile(r"[0-9a-f-]{1,64}")
"""A boot id, as of /proc/sys/kernel/random/boot_id."""


class InFlight(NamedTuple):
    """A change that was sent under a generation of its path, and is not answered yet."""

    part: ChangeRef
    generation: int
    bulk: bool


Answered = Callable[[InFlight, str, str], None]
"""Called with (flight, reason, detail) for each answer; the reason is empty when the change is done."""


class Connection:
    """Talks to one agent.

    Args:
        channel: connected; the agent has said its marker.
        answered: told of every answer, on the loop.
        moved: told when there may be more room.

    Attributes:
        about: what the agent says of itself.
        features: what both sides can do; see `wire.messages.FEATURES`.
        boot: which boot of its machine the agent runs in; empty if it does not say.
        bytes_sent: since the connection began.
        window: how much bulk may be under way.
    """

    def __init__(self, channel: Channel, answered: Answered, moved: Callable[[], None]) -> None:
        self.about = ""
        self.features: frozenset[str] = frozenset()
        self.boot = ""
        self.bytes_sent = 0
        self.window = Window()
        self._channel = channel
        self._answered = answered
        self._moved = moved
        self._decoder = frames.Decoder()
        self._closed = ""
        self._flights: dict[int, InFlight] = {}
        self._work = 0
        self._opened: dict[int, asyncio.Future[Opened]] = {}
        self._asked: dict[int, asyncio.Future[str]] = {}
        self._hello = asyncio.get_running_loop().create_future()
        self._empty_acks = 0
        self._sources = Origin()
        self._urgent = b""
        self._urged = asyncio.Event()
        self._progress_timeout = ProgressTimeout(self._owed)
        self._listings = Listings(self._say, self._progress_timeout)

    @property
    def has_room(self) -> bool:
        """True if more bulk may be sent now. Requests for a long listing alone, which nobody acknowledges, fill no room."""
        return self._work < WORK and self.window.has_room(self.bytes_sent)

    def is_under_way(self, number: int) -> bool:
        """Return True if a change was sent and is not answered yet."""
        return number in self._flights

    async def receive(self) -> None:
        """Take in what the agent says, until the connection ends.

        Raises:
            ChannelLost: always, in the end.
            ProtocolError: the agent broke the wire format.
        """
        while True:
            data = await self._channel.read()
            if not data:
                said = self._channel.diagnosis()
                raise ChannelLost(f"the agent has ended{': ' + said if said else ''}")
            self._decoder.receive(data)
            for count, frame in enumerate(self._decoder.frames(), 1):
                self._handle(messages.decode(frame.header))
                if count % SLICE == 0:
                    await asyncio.sleep(0)

    async def greet(self, about: str = "replicator backend") -> None:
        """Exchange hellos.

        Args:
            about: who this is, the same for each connection to a frontend: of its agents, only the newest may work.

        Raises:
            ProtocolError: the agent speaks another version.
        """
        await self._say(Hello(messages.VERSION, messages.FEATURES, about))
        hello: Hello = await self._hello
        lacking = set(messages.REQUIRED) - set(hello.features)
        if hello.version != messages.VERSION or lacking:
            raise ProtocolError(
                f"the agent speaks version {hello.version} {sorted(hello.features)}, we speak {messages.VERSION}"
                f" {sorted(messages.REQUIRED)}: install the same release of replicator on both sides"
            )
        self.about = hello.about
        self.boot = hello.boot if _BOOT.fullmatch(hello.boot) else ""
        self.features = frozenset(messages.FEATURES) & set(hello.features)

    def lacks(self, request: OpenTree) -> str:
        """Return what of a request an agent of an earlier release does not do, as a sentence; empty if nothing."""
        if request.durable and "durable" not in self.features:
            return "its agent is of an earlier release and does not wait for the disk (tree.durable): install this release there"
        return ""

    async def open_tree(self, request: OpenTree) -> Opened:
        """Tell the agent where a tree's files go.

        Raises:
            AgentFailed: the target cannot be used; says why.
        """
        self._progress_timeout.asking()
        self._sources = request.origin
        answer = self._opened[request.tree] = asyncio.get_running_loop().create_future()
        await self._say(request)
        opened: Opened = await answer
        if opened.error:
            raise AgentFailed(
                f"the target {text_of(request.root)!r} cannot be used: {opened.error}"
            )
        return opened

    def sources_moved(self, origin: Origin) -> None:
        """Tell the agent, before whatever is sent next, where the sources are."""
        if "sources" in self.features and origin != self._sources:
            self._sources = origin
            self._urgent = frames.encode(Sources(origin).header())
            self._urged.set()

    async def tell_sources(self) -> None:
        """Send what `sources_moved` was given when nothing else is sent, until cancelled.

        Raises:
            ChannelLost: the connection is gone.
        """
        while True:
            await self._urged.wait()
            self._urged.clear()
            if self._urgent:
                await self._write(b"")

    async def send(self, encoded: Sequence[bytes], in_flights: Sequence[InFlight]) -> None:
        """Send frames; their changes are under way from now on.

        Raises:
            ChannelLost: the connection is gone.
        """
        self._progress_timeout.asking()
        for in_flight in in_flights:
            self._flights[in_flight.part.number] = in_flight
            self._work += in_flight.part.work
        for frame in encoded:
            self.window.sent(self.bytes_sent + len(frame), _now())
            await self._write(frame)

    async def ask(self, change: Change, content: bytes = b"") -> str:
        """Send one change and wait for its answer: why it was refused, or nothing.

        Raises:
            ChannelLost: the connection is gone.
        """
        self._progress_timeout.asking()
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._asked[change.number] = answer
        try:
            await self._write(frames.encode(Batch((change,)).header(), [content]))
            return await answer
        finally:
            self._asked.pop(change.number, None)

    @property
    def lines_listed(self) -> int:
        """Lines of listings that came since the connection began."""
        return self._listings.lines

    def close(self, reason: str) -> None:
        """The connection has ended: whatever waits for it ends with ChannelLost."""
        self._closed = reason
        self._listings.close(reason)
        for waiting in (self._hello, *self._opened.values(), *self._asked.values()):
            waiting.cancel()

    def listing(
        self,
        tree: int,
        below: bytes,
        *,
        digest: bool,
        after: bytes = b"",
        gives_way: bool = False,
    ) -> AbstractAsyncContextManager[AsyncIterator[Listing]]:
        """List what the frontend holds below a directory; one listing at a time, others wait.

        Args:
            tree: its number.
            below: the directory.
            digest: the agent reads all files, and adds their digests.
            after: only what comes after this path; an agent of an earlier release lists everything.
            gives_way: end, without the listing's end, when somebody else wants a listing.
        """
        request = ListTree(0, tree, below, digest, CREDIT, self._can("after", after))
        return self._listings.listing(request, gives_way=gives_way)

    def _can(self, feature: str, value: bytes) -> bytes:
        """Return a field's value for an agent that knows it, else nothing."""
        return value if feature in self.features else b""

    async def watch_silence(self, limit: float) -> None:
        """End the connection when answers are due, and for `limit` seconds none has come.

        Raises:
            ChannelLost: then.
        """
        await self._progress_timeout.watch(limit)

    def _owed(self) -> str:
        """Return what the agent owes us; empty if nothing."""
        changes = len(self._flights) + len(self._asked)
        if changes:
            return f"{changes} changes"
        if self._listings.is_due:
            return "a listing"
        if self._opened:
            return "a target to be opened"
        return "" if self.has_room else "more than it has room for"

    def _handle(self, message: messages.Message) -> None:
        if isinstance(message, Acks):
            self._acknowledge(message)
        elif isinstance(message, Listing):
            self._listings.take(message)
        elif isinstance(message, Opened):
            waiting = self._opened.pop(message.tree, None)
            if waiting is None or waiting.done():
                raise ProtocolError("the agent has opened what it was not asked for")
            waiting.set_result(message)
            self._progress_timeout.progressed()
        elif isinstance(message, Hello) and not self._hello.done():
            self._hello.set_result(message)
        else:
            raise ProtocolError(f"unexpected message {type(message).__name__}")

    def _acknowledge(self, acks: Acks) -> None:
        if not self.window.taken <= acks.taken <= self.bytes_sent:
            raise ProtocolError(
                f"the agent has dealt with {acks.taken} bytes, after {self.window.taken}, of {self.bytes_sent} that were sent"
            )
        answers = bool(acks.done or acks.refused or self._listings.is_hashing)
        if answers:
            self._progress_timeout.progressed()
        if (
            answers
            or acks.taken > self.window.taken
            or (self._work and self._progress_timeout.alive())
        ):
            self._empty_acks = 0
        elif self._empty_acks < EMPTY_ACKS:
            self._empty_acks += 1
        else:
            raise ProtocolError("the agent acknowledges nothing, again and again")
        for number in acks.done:
            self._answer(number, "", "")
        for number, reason, detail in acks.refused:
            self._answer(number, reason, detail)
        if self.window.took(acks.taken, _now()):
            self._progress_timeout.progressed()
        self._moved()

    def _answer(self, number: int, reason: str, detail: str) -> None:
        in_flight = self._flights.pop(number, None)
        if in_flight is not None:
            self._work -= in_flight.part.work
        asked = self._asked.get(number)
        if asked is not None and not asked.done():
            asked.set_result(f"{reason}: {detail}" if reason else "")
        elif in_flight is None:
            raise ProtocolError("an answer to a change that is not under way")
        else:
            self._answered(in_flight, reason, detail)

    async def _say(self, message: messages.Message) -> None:
        await self._write(frames.encode(message.header()))

    async def _write(self, frame: bytes) -> None:
        if self._closed:
            raise ChannelLost(self._closed)
        if self._urgent:
            frame, self._urgent = self._urgent + frame, b""
        self.bytes_sent += len(frame)
        await self._channel.write(frame)


def _now() -> float:
    return asyncio.get_running_loop().time()
