"""Run blocking work in threads that do not keep the process from ending, one at a time, at a bounded rate."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from replicator.core.pace import TokenBucket
from replicator.errors import ReplicatorError

T = TypeVar("T")

_ENDS = "the daemon ends, or has another configuration"

REST = 0.002
"""Seconds between two steps of work, in which other threads run."""


class Stopping(ReplicatorError):
    """Raised in the thread to end what it does."""


class Worker:
    """Does blocking work, one piece at a time, until it is stopped.

    Args:
        bandwidth: bytes per second of uploads.
    """

    def __init__(self, bandwidth: float) -> None:
        self._bucket = TokenBucket(bandwidth)
        self._stop = threading.Event()
        self._busy = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._threads: set[threading.Thread] = set()

    @property
    def is_busy(self) -> bool:
        """True while a piece of work is in progress."""
        return self._busy.locked()

    @property
    def is_stopped(self) -> bool:
        """True after `stop`."""
        return self._stop.is_set()

    async def alone(self, work: Coroutine[Any, Any, T]) -> T:
        """Await work that no other work overlaps. If the caller is cancelled, the work goes on until its end.

        Raises:
            Stopping: the worker was stopped.
        """

        async def alone() -> T:
            async with self._busy:
                return await work

        task = asyncio.get_running_loop().create_task(alone())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled() and self.is_stopped:  # by `stop`: the caller was not cancelled
                raise Stopping(_ENDS) from None
            raise

    async def run(self, work: Callable[[], T]) -> T:
        """Return the result of `work`, which runs in a thread; or raise its error."""
        return await run_in_thread(work, self._threads)

    def stop(self) -> None:
        """Cancel what runs; the threads end at their next step."""
        self._stop.set()
        for task in self._tasks:
            task.cancel()

    def join(self, seconds: float) -> bool:
        """Wait until the threads have ended; return False if one hangs. Blocks."""
        deadline = time.monotonic() + seconds
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def pace(self, size: int) -> None:
        """Wait as long as the bandwidth requires. Called in the thread. Raises Stopping."""
        self._wait(self._bucket.delay(size, time.monotonic()))

    def rest(self) -> None:
        """Let other threads run. Called in the thread. Raises Stopping."""
        self._wait(REST)

    def _wait(self, seconds: float) -> None:
        if self._stop.wait(seconds) if seconds else self._stop.is_set():
            raise Stopping(_ENDS)


async def run_in_thread(work: Callable[[], T], running: set[threading.Thread]) -> T:
    """Return the result of `work`, which runs in a thread of its own; or raise its error.

    An executor's threads would be joined at the end of the process, which a request to a store that hangs would delay.

    Args:
        work: the work.
        running: holds the thread while it runs.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def finish(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # None only with an error

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001  # it is raised again in the caller
            failure = error
        running.discard(threading.current_thread())
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(finish, result, failure)

    thread = threading.Thread(target=run, name="base", daemon=True)
    running.add(thread)
    thread.start()
    return await done
