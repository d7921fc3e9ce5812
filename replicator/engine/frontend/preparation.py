"""Reads and encodes dirty paths before they can be sent, so that sending never waits for the disk.

Small files are read many at a time, and put into batches. Large files are read a frame at a time, while the frames before it are sent.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial

from replicator.core.lifecycle import State
from replicator.core.pending import PendingChange, PendingKind
from replicator.core.plan import safe_order
from replicator.engine.changes.batching import is_cut
from replicator.engine.changes.create import next_number, put_change
from replicator.engine.changes.difference import groups_of
from replicator.engine.changes.encode import (
    ChangeRef,
    EncodedChanges,
    begin_frame,
    data_frame,
    encode_batches,
)
from replicator.engine.changes.large_files import StreamedFile
from replicator.engine.changes.reader import ContentReader, ReadResult, ReadyChange
from replicator.engine.context import Context
from replicator.engine.frontend.answers import Answers
from replicator.engine.frontend.connection import Connection
from replicator.engine.frontend.delta_search import DeltaSearch
from replicator.engine.frontend.in_flight import InFlight
from replicator.engine.frontend.send_queue import Outgoing, Part, SendQueue
from replicator.engine.frontend.state import FrontendState
from replicator.engine.loop import loop_time

TAKE = 128
"""Paths read in one go: at 20 KB a file about 2.5 MB, a few milliseconds for the thread."""

STREAMS = 4
"""Trees of which a large file is streamed at a time. An agent accepts 16 unfinished files; some are left for live changes."""

REMEMBERED = 1024
"""Numbers of recently streamed files."""


class Preparation:
    """Reads the dirty paths of one frontend into the queue of its connection.

    Args:
        state: state of the frontend.
        context: what all replicas share.
        queue: receives the frames.
        answers: notified of paths that cannot be read, or need not be sent.
        added: called when a frame was added to the queue.

    Attributes:
        is_reading: paths were taken whose frames are not in the queue yet.
    """

    def __init__(
        self,
        state: FrontendState,
        context: Context,
        queue: SendQueue,
        answers: Answers,
        added: Callable[[], None],
    ) -> None:
        self._state = state
        self._dirty = state.dirty
        self._context = context
        self._queue = queue
        self._answers = answers
        self._added = added
        self._large: OrderedDict[int, deque[StreamedFile]] = OrderedDict()
        self._deltas = DeltaSearch(state, context, self._add_large)
        self._streamed: dict[int, InFlight] = {}
        self._numbers: OrderedDict[int, None] = OrderedDict()
        self._to_prepare, self._to_stream = asyncio.Event(), asyncio.Event()
        self.is_reading = False

    def wake(self) -> None:
        """Look again: a path is dirty or may be tried again, or the queue may have room."""
        self._to_prepare.set()
        self._to_stream.set()

    def answered(self, part: ChangeRef) -> None:
        """Record an answer: a file that is being streamed was refused, and the rest is not read."""
        change = self._streamed.get(part.key.tree)
        if change is not None and change.part.number == part.number:
            del self._streamed[part.key.tree]

    def hold(self) -> None:
        """End the streams of paused trees: their paths stay dirty. A file that was sent completely is still acknowledged."""
        waiting = self._deltas.take_held()
        for tree in self._state.held:
            waiting += self._large.pop(tree, ())
        for large in waiting:
            self._dirty.put_back(large.pending.key, large.pending.generation)
        for tree in self._state.held:
            if (change := self._streamed.pop(tree, None)) is not None:
                key, generation = change.part.key, change.generation
                if self._dirty.is_current(key, generation):
                    self._dirty.mark(key, PendingKind.ATTRIBUTES, loop_time(), urgent=False)

    def clear(self) -> None:
        """Drop the large files that wait."""
        self._large.clear()
        self._deltas.clear()

    async def search(self, connection: Connection) -> None:
        """Find what the frontend lacks of large files of which it holds another version, until cancelled.

        Raises:
            ChannelLost: if the connection is lost.
        """
        await self._deltas.run(connection)

    async def prepare(self) -> None:
        """Read dirty paths, and encode the small ones, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._to_prepare.clear()
            has_room = not self._queue.is_full
            taken = self._dirty.take(loop_time(), TAKE, is_cut) if has_room else []
            if not taken:
                # Without room a retry must wait for the sender, which sets the event.
                until = self._dirty.next_retry() if has_room else None
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(until):
                        await self._to_prepare.wait()
                continue
            reader, pool = self._context.reader, self._context.pool
            self.is_reading = True
            result, prepared = await loop.run_in_executor(pool, _read, reader, taken)
            for pending in result.unneeded:
                self._answers.clean(pending.key, pending.generation)
            for unreadable in result.unreadable:
                self._answers.unreadable(unreadable)
            for large in result.large:
                self._dirty.sent(large.pending.key)  # deletions do not wait for its stream
                if not self._deltas.add(large):
                    self._add_large(large)
            if self._state.held:  # perhaps paused during the read
                self.hold()
            for outgoing in prepared:
                await self._throttle(outgoing.size)
                self._queue.add_prepared(outgoing)
                self._added()
            self.is_reading = False

    def _add_large(self, large: StreamedFile) -> None:
        self._large.setdefault(large.pending.key.tree, deque()).append(large)
        if large.pending.key.tree in self._state.held:  # perhaps paused while it was compared
            self.hold()
        self._to_stream.set()

    async def stream(self) -> None:
        """Stream large files until cancelled: one of each tree, of STREAMS trees at a time."""
        running: set[int] = set()

        async def stream(tree: int, large: StreamedFile) -> None:
            await self._stream_file(large)
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

    async def _stream_file(self, large: StreamedFile) -> None:
        """Prepare a file's frames. Whether the file ends well is decided when the last one is sent."""
        loop = asyncio.get_running_loop()
        (tree, path), generation, _ = large.pending
        number, found = self._number(large), large.found
        part = ChangeRef(number, large.pending.key)
        change = InFlight(part, generation, bulk=True, by_sums=found is not None)
        put = put_change(number, tree, path, large.record.entry)
        begin = begin_frame(put, delta=found is not None, base=found.base if found else "")
        self._streamed[tree] = change
        await self._put(begin, change, Part.BEGIN)
        sent = 0
        for read, work in self._reads(large, number):
            frame = None
            current = self._dirty.is_current(large.pending.key, generation)
            if current and self._streamed.get(tree) is change:
                frame = await loop.run_in_executor(self._context.pool, read)
            if frame is None:
                await self._put(data_frame(number, [], cancel=True), change, Part.CANCEL)
                return
            await self._throttle(len(frame))
            await self._put(frame, change, Part.CONTENT, work)
            sent += len(frame)
        await self._put(data_frame(number, [], end=True), change, Part.END)
        if found:
            self._state.bytes_saved += large.record.entry.size - sent
        if self._streamed.get(tree) is change:
            del self._streamed[tree]

    def _reads(
        self, large: StreamedFile, number: int
    ) -> Iterator[tuple[Callable[[], bytes | None], int]]:
        """Yield for each frame of a file a function that reads it, and how many bytes the agent has to copy for it."""
        large_files = self._context.large_files
        if large.found is None:
            for offset in large.offsets():
                yield partial(large_files.frame, large, number, offset), 0
        else:
            for group in groups_of(large.found.parts):
                yield partial(large_files.delta_frame, large, number, group), group.work

    async def _put(self, frame: bytes, change: InFlight, part: Part, work: int = 0) -> None:
        while self._queue.is_full:
            self._to_stream.clear()
            await self._to_stream.wait()
        self._queue.add_prepared(Outgoing((frame,), (change,), part, work))
        self._added()

    async def _throttle(self, size: int) -> None:
        """Wait until so many bytes may be sent. Only a bootstrap is limited."""
        if self._state.state is not State.LIVE:
            delay = self._context.bucket.delay(size, loop_time())
            if delay:
                await asyncio.sleep(delay)

    def _number(self, large: StreamedFile) -> int:
        """Return the number that all frontends share; if an attempt under it is still to be answered, another."""
        number = self._context.large_files.number_of(large)
        if large.found or number in self._numbers:
            number = next_number()
        self._numbers[number] = None
        if len(self._numbers) > REMEMBERED:
            self._numbers.popitem(last=False)
        return number


def _read(
    reader: ContentReader, taken: Sequence[PendingChange]
) -> tuple[ReadResult, list[Outgoing]]:
    """Read dirty paths, and encode the small ones; blocks.

    Returns:
        Everything that was read, and the frames of the small files.
    """
    result = reader.collect(taken)
    prepared = _encode(result.ready, compress=result.compress)
    prepared += [_prepared(group.encoded, group.pending) for group in result.groups]
    return result, prepared


def _encode(ready: Sequence[ReadyChange], *, compress: bool) -> list[Outgoing]:
    """Encode single changes in an order in which each can succeed."""
    by_number = {item.change.number: item for item in ready}
    ordered = [by_number[change.number] for change in safe_order([item.change for item in ready])]
    items = ((item.change, item.content) for item in ordered)
    return [
        _prepared(encoded, [by_number[part.number].pending for part in encoded.parts])
        for encoded in encode_batches(items, compress=compress)
    ]


def _prepared(encoded: EncodedChanges, pending: Sequence[PendingChange]) -> Outgoing:
    changes = [
        InFlight(part, one.generation, bulk=True)
        for part, one in zip(encoded.parts, pending, strict=True)
    ]
    return Outgoing(encoded.frames, tuple(changes))
