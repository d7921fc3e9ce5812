"""Large files: a frame at a time, read while the frames before it are sent."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from functools import partial

from replicator.core.dirty import DirtySet
from replicator.engine.changes.create import next_number, put_file
from replicator.engine.changes.encode import ChangeRef, begin_frame, data_frame
from replicator.engine.changes.reader import ContentReader, StreamedFile
from replicator.engine.frontend.in_flight import InFlight
from replicator.engine.frontend.prepared import Prepared

REMEMBERED = 1024
"""Numbers of files that were streamed lately."""


class Streaming:
    """Prepares the frames of large files for one frontend, one file at a time.

    Args:
        dirty: says whether a file was marked again.
        reader: reads it.
        pool: where blocking reads run.
        throttle: waits until so many bulk bytes may be sent.
    """

    def __init__(
        self,
        dirty: DirtySet,
        reader: ContentReader,
        pool: Executor,
        throttle: Callable[[int], Awaitable[None]],
    ) -> None:
        self._dirty = dirty
        self._reader = reader
        self._pool = pool
        self._throttle = throttle
        self._numbers: OrderedDict[int, None] = OrderedDict()
        self._streamed = 0

    def answered(self, number: int) -> None:
        """A change was answered: if it is the file that is being streamed, it was refused, and the rest is not read."""
        if number == self._streamed:
            self._streamed = 0

    async def stream(self, large: StreamedFile, put: Callable[[Prepared], Awaitable[None]]) -> None:
        """Prepare a file's frames. Whether it ends well is decided when the last one is sent.

        Args:
            large: the file.
            put: takes each frame; waits while there are many.
        """
        loop = asyncio.get_running_loop()
        tree, path = large.due.key
        number = self._number(large)
        change = put_file(number, tree, path, large.record.entry)
        in_flight = InFlight(ChangeRef(number, large.due.key), large.due.generation, bulk=True)
        part = partial(Prepared, stream=number)
        cancel = data_frame(number, [], cancel=True)
        self._streamed = number
        await put(part(begin_frame(change, delta=False), (in_flight,), (large.due,)))
        for offset in large.offsets():
            frame = None
            current = self._dirty.is_current(large.due.key, large.due.generation)
            if current and self._streamed == number:
                frame = await loop.run_in_executor(
                    self._pool, self._reader.frame, large, number, offset
                )
            if frame is None:
                await put(part(cancel, is_last=True))
                return
            await self._throttle(len(frame))
            await put(part(frame, is_content=True))
        end = data_frame(number, [], end=True)
        await put(part(end, (), (large.due,), otherwise=cancel, is_last=True))

    def _number(self, large: StreamedFile) -> int:
        """Return the number that all frontends share; if an attempt under it is still to be answered, another."""
        number = self._reader.number_of(large)
        if number in self._numbers:
            number = next_number()
        self._numbers[number] = None
        if len(self._numbers) > REMEMBERED:
            self._numbers.popitem(last=False)
        return number
