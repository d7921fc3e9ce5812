"""Carries what one frontend is owed, over one link.

Three tasks. *Send* writes frames: live parcels first, prepared ones while the window has room. *Prepare* takes dirty paths,
has them read in a worker thread, and frames them. *Stream* does the same for large files, a chunk at a time. Whatever was
read under an older generation than the path has at the moment of writing is thrown away: something newer is already queued
or will be read, and must not be overtaken by it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from replicator.core.dirty import DirtySet, Due, Key, Owed
from replicator.core.pace import Backoff
from replicator.core.plan import safe_order
from replicator.engine.batching import is_cut
from replicator.engine.link import Flight, Link
from replicator.engine.parcel import (
    Parcel,
    Part,
    batches,
    begin_frame,
    data_frame,
    next_number,
    put_file,
)
from replicator.engine.supply import Large, Ready, Supplies, Supply
from replicator.errors import ChannelLost
from replicator.model import ancestors, parent
from replicator.wire import changes

LANE_BYTES = 16 << 20
"""Live frames queued to one frontend. Beyond it the paths are only marked: a slow frontend reads them later itself."""

TAKE = 128
"""Paths read in one go: at 20 KB a file about 2.5 MB, a few milliseconds for the thread."""

PREPARED = 8
"""Prepared frames in stock, at most 512 KiB each: enough that the sender never waits for the disk."""

KEPT_AFTER = 4
"""Attempts to remove a directory, over some six seconds, before what it holds counts as not ours."""

SOON = 0.2
"""Seconds until a path is tried again when the reason is a race that is about to be over."""


@dataclass(frozen=True)
class Prepared:
    """A frame that waits for room.

    Attributes:
        frame: the bytes.
        flights: the changes in it.
        dues: what it was read for; if any was marked again meanwhile, the frame is not sent.
        otherwise: what is sent then; empty: nothing, and the paths are read again.
        stream: the number of the file that the frame is a part of; if its beginning was not sent, no part is.
    """

    frame: bytes
    flights: tuple[Flight, ...] = ()
    dues: tuple[Due, ...] = ()
    otherwise: bytes = b""
    stream: int = 0


class Listener(Protocol):
    """Who is told what became of what a courier carried."""

    def done(self, key: Key) -> None:
        """A path has become clean."""

    def troubled(self, key: Key, reason: str) -> None:
        """A path was refused, or cannot be read."""

    def in_doubt(self, directory: Key) -> None:
        """What the frontend holds below a directory must be compared anew."""

    async def throttle(self, size: int) -> None:
        """Wait until so many bulk bytes may be sent."""


class Courier:
    """Sends to one frontend.

    Args:
        dirty: what it is owed; outlives this connection.
        supply: reads what it is owed.
        pool: where blocking reads run.
        retry: delays for refused paths.
        listener: is told what becomes of it.
    """

    def __init__(
        self, dirty: DirtySet, supply: Supply, pool: Executor, retry: Backoff, listener: Listener
    ) -> None:
        self._dirty = dirty
        self._supply = supply
        self._pool = pool
        self._retry = retry
        self._listener = listener
        self._lane: deque[tuple[Parcel, list[int]]] = deque()
        self._lane_bytes = 0
        self._prepared: deque[Prepared] = deque()
        self._large: deque[Large] = deque()
        self._streamed: OrderedDict[int, None] = OrderedDict()
        self._not_begun = -1
        self._events = [asyncio.Event() for _ in range(3)]
        self._root_gone = asyncio.Event()

    def post(self, parcel: Parcel, *, builds: bool) -> bool:
        """Queue a live parcel, or mark its paths dirty where it cannot be used; return True if it was queued.

        Args:
            parcel: what changed.
            builds: True if this frontend's content is known, so that a parcel may build on it.
        """
        now = self._now()
        keys = [part.key for part in parcel.parts]
        usable = bool(parcel.frames) and self._lane_bytes + parcel.size <= LANE_BYTES
        if usable and parcel.builds_on:
            usable = builds and all(self._dirty.holds(key) for key in keys)
        if usable:
            generations = [self._dirty.mark_sent(key, now) for key in keys]
            self._lane.append((parcel, generations))
            self._lane_bytes += parcel.size
        else:
            for key in keys:
                self._dirty.mark(key, Owed.CONTENT, now, urgent=True)
        self.wake()
        return usable

    def post_move(self, parcel: Parcel) -> None:
        """Queue a rename; what was dirty below the old name is dirty below the new one."""
        (part,) = parcel.parts
        now = self._now()
        self._dirty.rename(part.key.tree, part.key.path, part.target, now)
        self._lane.append((parcel, [self._dirty.mark_sent(part.key, now)]))
        self._lane_bytes += parcel.size
        self.wake()

    def wake(self) -> None:
        """Look again: something is dirty, was answered, or may be tried again."""
        for event in self._events:
            event.set()

    async def run(self, link: Link) -> None:
        """Send until the link is lost.

        Raises:
            ChannelLost: then.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send(link))
            tasks.create_task(self._prepare())
            tasks.create_task(self._stream())
            tasks.create_task(self._watch_root())

    async def _send(self, link: Link) -> None:
        event = self._events[0]
        while True:
            event.clear()
            if self._lane:
                parcel, generations = self._lane.popleft()
                self._lane_bytes -= parcel.size
                both = zip(parcel.parts, generations, strict=True)
                await link.send(
                    parcel.frames, [Flight(part, gen, bulk=False) for part, gen in both]
                )
            elif self._prepared and link.has_room:
                await self._send_prepared(link, self._prepared.popleft())
                await asyncio.sleep(0)  # a frame costs a millisecond or two: others may be waiting
                self._events[1].set()
                self._events[2].set()
            else:
                await event.wait()

    async def _send_prepared(self, link: Link, prepared: Prepared) -> None:
        current = all(self._dirty.is_current(due.key, due.generation) for due in prepared.dues)
        if prepared.stream == self._not_begun:
            return
        if current and any(link.is_under_way(f.part.number) for f in prepared.flights):
            # A frame that others share keeps its numbers: the same one cannot be under way twice.
            for due in prepared.dues:
                self._dirty.block(due.key, self._now() + SOON)
            self._not_begun = prepared.stream or self._not_begun
        elif current:
            await link.send([prepared.frame], prepared.flights)
        elif prepared.otherwise:
            await link.send([prepared.otherwise], ())
        else:
            for due in prepared.dues:
                self._dirty.put_back(due.key, due.generation)
            self._not_begun = prepared.stream or self._not_begun

    async def _prepare(self) -> None:
        event = self._events[1]
        loop = asyncio.get_running_loop()
        while True:
            event.clear()
            room = len(self._prepared) < PREPARED
            dues = self._dirty.take(self._now(), TAKE, is_cut) if room else []
            if not dues:
                await self._wait(event, self._dirty.next_retry())
                continue
            supplies, framed = await loop.run_in_executor(self._pool, _prepare, self._supply, dues)
            for due in supplies.settled:
                self._clean(due.key, due.generation)
            for stuck in supplies.stuck:
                self._stuck(stuck.due, stuck.reason)
            self._large.extend(supplies.large)
            for prepared in framed:
                await self._listener.throttle(len(prepared.frame))
                self._prepared.append(prepared)
                self._events[0].set()
            self._events[2].set()

    async def _stream(self) -> None:
        event = self._events[2]
        while True:
            event.clear()
            if self._large:
                await self._stream_one(self._large.popleft(), event)
            else:
                await event.wait()

    async def _stream_one(self, large: Large, event: asyncio.Event) -> None:
        """Prepare a large file's frames. Whether it ends well is decided when the last one is sent."""
        loop = asyncio.get_running_loop()
        tree, path = large.due.key
        number = self._supply.number_of(large)
        if number in self._streamed:  # an attempt is still to be answered: this one is another
            number = next_number()
        self._streamed[number] = None
        if len(self._streamed) > 1024:
            self._streamed.popitem(last=False)
        put = put_file(number, tree, path, large.record.entry)
        flight = Flight(Part(number, large.due.key), large.due.generation, bulk=True)
        part = partial(Prepared, stream=number)
        cancel = data_frame(number, [], cancel=True)
        await self._put(part(begin_frame(put, delta=False), (flight,), (large.due,)), event)
        for offset in large.offsets():
            frame = None
            if self._dirty.is_current(*large.due[:2]):
                frame = await loop.run_in_executor(
                    self._pool, self._supply.frame, large, number, offset
                )
            if frame is None:
                await self._put(part(cancel), event)
                return
            await self._listener.throttle(len(frame))
            await self._put(part(frame), event)
        end = data_frame(number, [], end=True)
        await self._put(part(end, (), (large.due,), otherwise=cancel), event)

    async def _put(self, prepared: Prepared, event: asyncio.Event) -> None:
        while len(self._prepared) >= PREPARED:
            event.clear()
            await event.wait()
        self._prepared.append(prepared)
        self._events[0].set()

    async def _watch_root(self) -> None:
        await self._root_gone.wait()
        raise ChannelLost("the target directory was removed from the frontend")

    def answered(self, flight: Flight, reason: str, detail: str) -> None:
        """An answer came; see `engine.link.Answered`."""
        key = flight.part.key
        if not reason:
            self._clean(key, flight.generation)
        elif reason == changes.ROOT_GONE:
            self._root_gone.set()
        elif flight.part.target:
            self._dirty.mark(
                key, Owed.CONTENT, self._now(), urgent=True
            )  # the old name is still there
            self._listener.in_doubt(Key(key.tree, flight.part.target))
        else:
            self._refused(flight, reason, detail)
        self.wake()

    def _refused(self, flight: Flight, reason: str, detail: str) -> None:
        key, now = flight.part.key, self._now()
        attempts = self._dirty.refused(key, flight.generation, Owed.CONTENT, f"{reason}: {detail}")
        if attempts is None:
            return
        if reason == changes.PATH_REFUSED and attempts == 1:
            # Perhaps a directory above it is something else there.
            self._listener.in_doubt(Key(key.tree, parent(parent(key.path))))
        if (
            reason == changes.VANISHED
        ):  # of whatever it is put into: let that be put right before it
            for above in reversed(list(ancestors(key.path))):
                self._dirty.mark(Key(key.tree, above), Owed.CONTENT, now, urgent=not flight.bulk)
        if reason in (changes.BASE_MISMATCH, changes.VANISHED) and attempts == 1:
            self._dirty.mark(key, Owed.CONTENT, now, urgent=not flight.bulk)
        elif reason == changes.NOT_EMPTY:
            self._not_empty(flight, attempts, detail)
        else:
            delay = self._retry.delay(attempts)
            racing = reason in (changes.DIGEST_MISMATCH, changes.VANISHED, changes.BASE_MISMATCH)
            self._dirty.block(key, now + (min(SOON, delay) if racing and attempts < 3 else delay))
            self._listener.troubled(key, detail or reason)

    def _not_empty(self, flight: Flight, attempts: int, detail: str) -> None:
        """A directory that is gone here, or is something else now, holds something there.

        While deletes below it are under way it is only early. Otherwise what it holds is found out, and deleted if it is
        ours; what is not (excluded files) keeps its directory, but nothing keeps a file out of its place silently.
        """
        key = flight.part.key
        if not self._dirty.holds_any_in(key):
            if flight.part.is_delete and attempts > KEPT_AFTER:
                self._clean(key, flight.generation)
                self._listener.troubled(key, "kept, because it holds files that are not ours")
                return
            self._listener.in_doubt(key)
        self._dirty.block(key, self._now() + SOON * 2 ** min(attempts, 6))
        if attempts > 1:
            self._listener.troubled(key, detail)

    def _stuck(self, due: Due, reason: str) -> None:
        attempts = self._dirty.refused(due.key, due.generation, due.owed, reason)
        if attempts is not None:
            delay = self._retry.delay(attempts)
            self._dirty.withhold(due.key)
            self._dirty.block(due.key, self._now() + delay)
            self._listener.troubled(due.key, reason)

    def _clean(self, key: Key, generation: int) -> None:
        if self._dirty.acknowledged(key, generation):
            self._listener.done(key)

    async def _wait(self, event: asyncio.Event, until: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await event.wait()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _prepare(supply: Supply, dues: Sequence[Due]) -> tuple[Supplies, list[Prepared]]:
    """Read what is due, and frame what is small; blocks."""
    supplies = supply.collect(dues)
    framed = _frame(supplies.ready)
    framed += [_prepared(group.parcel, group.dues) for group in supplies.groups]
    return supplies, framed


def _prepared(parcel: Parcel, dues: tuple[Due, ...]) -> Prepared:
    flights = tuple(
        Flight(part, due.generation, bulk=True)
        for part, due in zip(parcel.parts, dues, strict=True)
    )
    return Prepared(parcel.frames[0], flights, dues)


def _frame(ready: Sequence[Ready]) -> list[Prepared]:
    """Frame single changes in a safe order."""
    by_number = {item.change.number: item for item in ready}
    ordered = [by_number[change.number] for change in safe_order([item.change for item in ready])]
    return [
        _prepared(parcel, tuple(by_number[part.number].due for part in parcel.parts))
        for parcel in batches((item.change, item.content) for item in ordered)
    ]
