"""Sends live changes and dirty paths to one frontend, over one connection.

Three tasks. *Send* writes frames: live changes first; then, while the window has room, large copies and prepared frames in turns.
*Prepare* takes dirty paths, reads them in a worker thread, and encodes them. *Stream* does the same for large files, a chunk
at a time, one file of each tree at a time. A frame is dropped if its path has got a newer generation since it was read: the newer
version is queued already, or will be read.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from concurrent.futures import Executor
from contextlib import suppress
from typing import Protocol

from replicator.core.dirty import DirtySet
from replicator.core.pace import Backoff
from replicator.core.pending import PendingKind
from replicator.engine.changes.batching import is_cut
from replicator.engine.changes.encode import ChangeRef, EncodedChanges
from replicator.engine.changes.reader import ContentReader, StreamedFile
from replicator.engine.frontend import acks
from replicator.engine.frontend.acks import SOON, Answers
from replicator.engine.frontend.connection import Connection
from replicator.engine.frontend.copies import QUICK, Copies
from replicator.engine.frontend.in_flight import InFlight
from replicator.engine.frontend.moves import Moves
from replicator.engine.frontend.prepared import Prepared, prepare
from replicator.engine.frontend.streaming import Streaming
from replicator.engine.pauses import Pauses

LANE_BYTES = 16 << 20
"""Bytes of live frames queued for one frontend. Beyond it their paths are marked dirty instead, and read again when there is room."""

TAKE = 128
"""Paths read in one go: at 20 KB a file about 2.5 MB, a few milliseconds for the thread."""

STREAMS = 4
"""Trees of which a large file is streamed at a time. An agent accepts 16 unfinished files; some are left for live changes."""

PREPARED = 8
"""Prepared frames that wait, at most 512 KiB each: enough that sending never waits for the disk."""


class Listener(acks.Listener, Protocol):
    """Receives the outcome of what a sender sent, and limits its rate."""

    async def throttle(self, size: int) -> None:
        """Wait until so many bulk bytes may be sent."""


class Sender:
    """Sends to one frontend.

    Args:
        dirty: its dirty paths; outlives this connection.
        reader: reads their content.
        pool: runs blocking reads.
        retry: delays for refused paths.
        listener: receives outcomes.

    Attributes:
        links: the agent can give a file another name.
    """

    def __init__(
        self,
        dirty: DirtySet,
        reader: ContentReader,
        pool: Executor,
        retry: Backoff,
        listener: Listener,
    ) -> None:
        self._dirty = dirty
        self._reader = reader
        self._pool = pool
        self.links = False
        self._throttle = listener.throttle
        self._moves = Moves()
        self._answers = Answers(dirty, self._moves, retry, listener)
        self._streams: dict[int, Streaming] = {}
        self._lane: deque[tuple[EncodedChanges, list[int]]] = deque()
        self._copies = Copies(dirty)
        self._copies_next = False
        self._lane_bytes = 0
        self._prepared: deque[Prepared] = deque()
        self._large: OrderedDict[int, deque[StreamedFile]] = OrderedDict()
        self._not_begun: set[int] = set()
        self._to_send, self._to_prepare, self._to_stream = (asyncio.Event() for _ in range(3))

    @property
    def is_moving(self) -> bool:
        """True while a move is in flight."""
        return bool(self._moves)

    def post(self, encoded: EncodedChanges, *, builds: bool) -> bool:
        """Queue live changes, or mark their paths dirty if they cannot be used; return True if they were queued.

        Args:
            encoded: the changes.
            builds: True if the tree was compared on this connection, so that a change may build on what the frontend holds.
        """
        now = _now()
        keys = [part.key for part in encoded.parts]
        usable = bool(encoded.frames) and self._lane_bytes + encoded.size <= LANE_BYTES
        if usable and encoded.builds_on:
            usable = builds and all(
                self._fits(part, proven=encoded.proven) for part in encoded.parts
            )
        if usable:
            generations = [self._dirty.mark_sent(key, now) for key in keys]
            if encoded.parts[0].twin and encoded.work >= QUICK:
                self._copies.add(encoded, generations)
            else:
                self._lane.append((encoded, generations))
            self._lane_bytes += encoded.size
        else:
            # Of attributes alone the content is perhaps under way: then the frontend compares digests.
            owed = PendingKind.ADOPT if encoded.proven else PendingKind.CONTENT
            for key in keys:
                self._dirty.mark(key, owed, now, urgent=True)
        self.wake()
        return usable

    def _fits(self, part: ChangeRef, *, proven: bool) -> bool:
        """Return True if the frontend can take a change that builds on what it holds."""
        if part.twin and not self.links:
            return False
        return part.base not in self._dirty if proven else self._dirty.is_clean_or_sent(part.base)

    def post_move(self, encoded: EncodedChanges, *, uncertain: bool) -> None:
        """Queue a move. Nothing that is queued later is sent before it.

        Args:
            encoded: the move.
            uncertain: True if the frontend may hold something else than known at one of its ends: the target is then compared
                once the move is answered.
        """
        (part,) = encoded.parts
        self._moves.add(part, uncertain=uncertain)
        generation = self._dirty.mark_sent(part.key, _now())
        self._copies.moved(part.key.tree, generation)
        self._lane.append((encoded, [generation]))
        self._lane_bytes += encoded.size
        self.wake()

    def wake(self) -> None:
        """Look again: something is dirty, was answered, or may be tried again."""
        self._to_send.set()
        self._to_prepare.set()
        self._to_stream.set()

    def answered(self, in_flight: InFlight, reason: str, detail: str) -> None:
        """Process an answer; see `engine.frontend.in_flight.Answered`."""
        stream = self._streams.get(in_flight.part.key.tree)
        if stream is not None:
            stream.answered(in_flight.part.number)
        self._copies.answered(in_flight.part.key, in_flight.generation)
        self._answers.take(in_flight, reason, detail)
        self.wake()

    def close(self) -> None:
        """Drop what was not sent. What refers to a lost connection is freed late, and this may be 20 MB."""
        self._lane.clear()
        self._copies.clear()
        self._prepared.clear()
        self._large.clear()

    async def run(self, link: Connection) -> None:
        """Send until the link is lost.

        Raises:
            ChannelLost: then.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send(link))
            tasks.create_task(self._prepare())
            tasks.create_task(self._stream())
            tasks.create_task(self._answers.watch_root())

    async def _send(self, link: Connection) -> None:
        pauses = Pauses(asyncio.get_running_loop())
        while True:
            self._to_send.clear()
            await pauses.pause()  # the lane may hold thousands of small frames
            if self._lane:
                await self._send_live(link, *self._lane.popleft())
            elif (self._prepared or self._copies) and link.has_room:
                self._copies_next = bool(self._copies) and not (
                    self._copies_next and self._prepared
                )
                if self._copies_next:
                    await self._send_copies(link)
                else:
                    await self._send_prepared(link, self._prepared.popleft())
                await asyncio.sleep(0)  # a frame costs a millisecond or two: others may be waiting
                self._to_prepare.set()
                self._to_stream.set()
            else:
                await self._to_send.wait()

    async def _send_live(
        self, link: Connection, encoded: EncodedChanges, generations: list[int]
    ) -> None:
        self._lane_bytes -= encoded.size
        both = zip(encoded.parts, generations, strict=True)
        await link.send(encoded.frames, [InFlight(part, gen, bulk=False) for part, gen in both])

    async def _send_copies(self, link: Connection) -> None:
        encoded, generations, current = self._copies.take()
        if current:
            await self._send_live(link, encoded, generations)
            return
        self._lane_bytes -= encoded.size
        for part, generation in zip(encoded.parts, generations, strict=True):
            self._dirty.put_back(part.key, generation)

    async def _send_prepared(self, link: Connection, prepared: Prepared) -> None:
        current = all(self._dirty.is_current(due.key, due.generation) for due in prepared.dues)
        if prepared.stream in self._not_begun:
            if prepared.is_last:
                self._not_begun.discard(prepared.stream)
            return
        if prepared.is_content and not link.is_in_flight(prepared.stream):
            return
        if current and any(link.is_in_flight(f.part.number) for f in prepared.in_flights):
            # A frame that others share keeps its numbers: the same one cannot be under way twice.
            for due in prepared.dues:
                self._dirty.block(due.key, _now() + SOON)
            self._leave_out(prepared)
        elif current:
            await link.send([prepared.frame], prepared.in_flights)
        elif prepared.otherwise:
            await link.send([prepared.otherwise], ())
        else:
            for due in prepared.dues:
                self._dirty.put_back(due.key, due.generation)
            self._leave_out(prepared)

    def _leave_out(self, prepared: Prepared) -> None:
        """If this is the beginning of a file, do not send the rest of it either."""
        if prepared.stream:
            self._not_begun.add(prepared.stream)

    async def _prepare(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._to_prepare.clear()
            room = len(self._prepared) < PREPARED
            dues = self._dirty.take(_now(), TAKE, is_cut) if room else []
            if not dues:
                # Without room a retry that is due must wait for the sender, which sets the event.
                until = self._dirty.next_retry() if room else None
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(until):
                        await self._to_prepare.wait()
                continue
            result, framed = await loop.run_in_executor(self._pool, prepare, self._reader, dues)
            for due in result.unneeded:
                self._answers.clean(due.key, due.generation)
            for stuck in result.unreadable:
                self._answers.stuck(stuck.due, stuck.reason, passing=stuck.passing)
            for large in result.large:
                self._large.setdefault(large.due.key.tree, deque()).append(large)
            for prepared in framed:
                await self._throttle(len(prepared.frame))
                self._prepared.append(prepared)
                self._to_send.set()
            self._to_stream.set()

    async def _stream(self) -> None:
        """Stream large files: those of a tree one after the other, those of STREAMS trees beside each other."""
        running: set[int] = set()

        async def stream(tree: int, large: StreamedFile) -> None:
            streaming = self._streams.setdefault(
                tree, Streaming(self._dirty, self._reader, self._pool, self._throttle)
            )
            await streaming.stream(large, self._put)
            running.discard(tree)
            self._to_stream.set()

        async with asyncio.TaskGroup() as tasks:
            while True:
                self._to_stream.clear()
                tree = next((tree for tree in self._large if tree not in running), None)
                if tree is None or len(running) >= STREAMS:
                    await self._to_stream.wait()
                    continue
                waiting = self._large.pop(tree)
                running.add(tree)
                tasks.create_task(stream(tree, waiting.popleft()))
                if waiting:
                    self._large[tree] = waiting  # after those of the other trees

    async def _put(self, prepared: Prepared) -> None:
        while len(self._prepared) >= PREPARED:
            self._to_stream.clear()
            await self._to_stream.wait()
        self._prepared.append(prepared)
        self._to_send.set()


def _now() -> float:
    return asyncio.get_running_loop().time()
