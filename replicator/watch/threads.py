"""Run blocking calls in daemon threads: a call on a hanging file system must not prevent the process from exiting."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_idle: list[SimpleQueue[Callable[[], None]]] = []
"""Queues of idle threads, for reuse: starting a thread takes 20 ms while others are busy, and may hang when memory is short."""


def in_daemon_thread(call: Callable[[], T]) -> asyncio.Future[T]:
    """Run `call` in a daemon thread of its own; return a future for its result or exception.

    The thread does not prevent the process from exiting, however long the call blocks.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if not future.done():
            if error is None:
                future.set_result(result)  # type: ignore[arg-type]  # it is a T, if there was no error
            else:
                future.set_exception(error)

    def run() -> None:
        try:
            outcome: tuple[T | None, BaseException | None] = call(), None
        except BaseException as error:  # noqa: BLE001  # it is raised where the future is awaited
            outcome = None, error
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, *outcome)

    with _lock:
        calls = _idle.pop() if _idle else None
    if calls is None:
        calls = SimpleQueue()
        threading.Thread(target=_serve, args=(calls,), daemon=True).start()
    calls.put(run)
    return future


def _serve(calls: SimpleQueue[Callable[[], None]]) -> None:
    while True:
        calls.get()()
        with _lock:
            _idle.append(calls)
