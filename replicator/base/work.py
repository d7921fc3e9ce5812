"""Run blocking work in a thread that does not keep the process from ending."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


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
