"""Sends live changes and dirty paths to one frontend, over one connection.

Four tasks share a queue (`SendQueue`). One sends: live changes first; then, while the window has room, bulk. The others read dirty
paths into the queue (`Preparation`). A frame is dropped if its path has got a newer generation since it was read: the newer version is
queued already, or will be read. `Answers` decides what follows from the agent's answer.
"""

from __future__ import annotations

import asyncio

from replicator.core.pending import PendingKind
from replicator.engine.changes.encode import ChangeRef, EncodedChanges, data_frame
from replicator.engine.context import Context
from replicator.engine.frontend.answers import SOON, Answers
from replicator.engine.frontend.connection import Connection
from replicator.engine.frontend.in_flight import InFlight, Moves
from replicator.engine.frontend.preparation import Preparation
from replicator.engine.frontend.send_queue import Outgoing, Part, SendQueue
from replicator.engine.frontend.state import FrontendState
from replicator.engine.loop import Pauses, loop_time

LIVE_BYTES = 16 << 20
"""Bytes of live changes in the queue at most. Beyond it their paths are marked dirty instead, and read again when there is room."""

QUICK = 1 << 20
"""Bytes: copying less takes the agent some milliseconds, and does not wait for room."""


class Sender:
    """Sends to one frontend.

    Args:
        state: state of the frontend; its dirty paths outlive this connection.
        context: what all replicas share.

    Attributes:
        links: the agent can give a file another name.
    """

    def __init__(self, state: FrontendState, context: Context) -> None:
        self.links = False
        self._state = state
        self._dirty = state.dirty
        self._moves = Moves()
        self._queue = SendQueue(state.dirty)
        self._answers = Answers(state, context, self._moves)
        self._preparation = Preparation(state, context, self._queue, self._answers, self._wake_send)
        self._bulk_turns = context.bulk_turns
        self._to_send = asyncio.Event()
        self._skipped: set[int] = set()

    @property
    def is_moving(self) -> bool:
        """True while the rename of a directory is in flight."""
        return bool(self._moves)

    async def moved(self) -> None:
        """Wait until the renames of directories that are in flight now are answered: what is listed then has the new names."""
        await self._moves.all_answered()

    def offer(self, encoded: EncodedChanges) -> None:
        """Queue live changes, or mark their paths dirty if the frontend cannot take them as they are."""
        if encoded.parts[0].target:
            self._offer_move(encoded)
        elif self._is_usable(encoded):
            outgoing = self._sent(encoded)
            if encoded.parts[0].source and encoded.work >= QUICK:
                self._queue.add_copies(outgoing)
            else:
                self._queue.add_live(outgoing)
            self._state.bytes_saved += encoded.saved
        else:
            kind = PendingKind.CONTENT
            if encoded.builds_on:
                # Of attributes alone the content is perhaps in flight: then the frontend compares digests.
                kind = PendingKind.ADOPT if encoded.proven else PendingKind.DELTA
            for part in encoded.parts:
                self._dirty.mark(part.key, kind, loop_time(), urgent=True, removal=part.is_delete)
        self.wake()

    def wake(self) -> None:
        """Wake the tasks: a path is dirty, was answered, or may be tried again."""
        self._wake_send()
        self._preparation.wake()

    def answered(self, in_flight: InFlight, reason: str, detail: str) -> None:
        """Process an answer; see `engine.frontend.in_flight.Answered`.

        Raises:
            ChannelLost: if the target directory was removed from the frontend.
        """
        self._preparation.answered(in_flight.part)
        self._queue.answered(in_flight.part.key, in_flight.generation)
        self._answers.take(in_flight, reason, detail)

    def hold(self) -> None:
        """End the streams of paused trees; what is in the queue is still sent."""
        self._preparation.hold()
        self.wake()

    def close(self) -> None:
        """Drop what was not sent: objects that refer to a lost connection are freed late, and this may be 20 MB.

        If a move is in flight, only its old name is dirty. It is unknown what the frontend holds below the new one, so the next
        comparison must not rely on what was confirmed.
        """
        if self._moves:
            self._state.resync_queue.certain.clear()
        self._queue.clear()
        self._preparation.clear()

    async def run(self, connection: Connection) -> None:
        """Send until the connection is lost.

        Raises:
            ChannelLost: when it is.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send(connection))
            tasks.create_task(self._preparation.search(connection))
            tasks.create_task(self._preparation.prepare())
            tasks.create_task(self._preparation.stream())

    def _is_usable(self, encoded: EncodedChanges) -> bool:
        """Return True if the frontend can take the changes as they are."""
        if not encoded.frames or self._queue.live_bytes + encoded.size > LIVE_BYTES:
            return False
        if any(part.is_delete for part in encoded.parts):  # it must not overtake earlier content
            tree = encoded.parts[0].key.tree
            is_coming = self._queue.has_bulk or self._preparation.is_reading
            if is_coming or self._dirty.has_waiting_content(tree):
                return False
        if not encoded.builds_on:
            return True
        compared = encoded.parts[0].key.tree in self._state.pending_paths.compared
        return compared and all(self._fits(part, proven=encoded.proven) for part in encoded.parts)

    def _fits(self, part: ChangeRef, *, proven: bool) -> bool:
        """Return True if the frontend holds, or will hold, what the change builds on."""
        if part.source and not self.links:
            return False
        if proven:
            return part.base not in self._dirty
        return self._dirty.is_clean_or_sent(part.base)

    def _offer_move(self, encoded: EncodedChanges) -> None:
        """Queue a move. If it is uncertain what the frontend holds at one of its ends, the target is compared after the answer."""
        (part,) = encoded.parts
        ends = source, target = part.ends
        self._state.pending_paths.rename(source, target)
        compared = source.tree in self._state.pending_paths.compared
        uncertain = not compared or any(map(self._state.resync_queue.overlaps, ends))
        self._moves.add(part, uncertain=uncertain)
        outgoing = self._sent(encoded)
        self._queue.moved(source.tree, outgoing.changes[0].generation)
        self._queue.add_live(outgoing)

    def _sent(self, encoded: EncodedChanges) -> Outgoing:
        """Mark live changes as sent."""
        mark_sent, now = self._dirty.mark_sent, loop_time()
        changes = [
            InFlight(part, mark_sent(part.key, now, removal=part.is_delete), bulk=False)
            for part in encoded.parts
        ]
        return Outgoing(encoded.frames, tuple(changes))

    def _wake_send(self) -> None:
        self._to_send.set()

    async def _send(self, connection: Connection) -> None:
        pauses = Pauses()
        while True:
            self._to_send.clear()
            await self._send_live(connection, pauses)
            if not self._may_send_bulk(connection):
                await self._to_send.wait()
                continue
            await self._bulk_turns.take()
            await self._send_live(connection, pauses)  # what has come meanwhile
            if self._may_send_bulk(connection):
                outgoing, current = self._queue.take_bulk()
                await self._send_bulk(connection, outgoing, current=current)
                await asyncio.sleep(0)  # a frame costs a millisecond or two: others may be waiting
                self._preparation.wake()

    async def _send_live(self, connection: Connection, pauses: Pauses) -> None:
        """Send all live changes in the queue; it may hold thousands of small frames."""
        await pauses.pause()
        while outgoing := self._queue.take_live():
            await connection.send(outgoing.frames, outgoing.changes)
            await pauses.pause()

    def _may_send_bulk(self, connection: Connection) -> bool:
        return self._queue.has_bulk and connection.has_room

    async def _send_bulk(
        self, connection: Connection, outgoing: Outgoing, *, current: bool
    ) -> None:
        changes, part = outgoing.changes, outgoing.part
        if part not in (Part.WHOLE, Part.BEGIN):
            await self._send_rest(connection, outgoing, current=current)
            return
        dirty = self._dirty
        # Frames before this one may have been dropped because their path has changed again: a deletion goes after the newer version.
        overtakes = any(dirty.is_overtaking(one.part.key, one.generation) for one in changes)
        # Other frontends get the same frame, with the same numbers: it cannot be in flight twice.
        waits = overtakes or any(connection.is_in_flight(one.part.number) for one in changes)
        if current and not waits:
            for change in changes:
                dirty.sent(change.part.key)
            await connection.send(outgoing.frames, changes)
        else:
            for change in changes:
                if current:
                    dirty.block(change.part.key, loop_time() + SOON)
                else:
                    dirty.put_back(change.part.key, change.generation)
            if part is Part.BEGIN:
                self._skipped.add(changes[0].part.number)

    async def _send_rest(
        self, connection: Connection, outgoing: Outgoing, *, current: bool
    ) -> None:
        """Send a later part of a large file.

        Nothing if its beginning was not sent, no content once it was refused, and a cancellation instead of the end if the path was
        marked again.
        """
        number, part = outgoing.changes[0].part.number, outgoing.part
        if number in self._skipped:
            if part is not Part.CONTENT:
                self._skipped.discard(number)
        elif part is Part.END and not current:
            await connection.send([data_frame(number, [], cancel=True)], ())
        elif part is not Part.CONTENT or connection.is_in_flight(number):
            await connection.send(outgoing.frames, (), work=outgoing.work)
