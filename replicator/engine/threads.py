"""Thread pools: one for all frontends, and those of each tree."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from replicator.engine.ingest.background import QUEUES


def started_pool(threads: int, name: str) -> ThreadPoolExecutor:
    """Return a pool whose threads are running already, so that no later call has to start one.

    If the system allows no further thread, ThreadPoolExecutor.submit raises RuntimeError, but has queued the call: another thread runs it
    later, and nothing takes its result.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    all_run = threading.Barrier(threads)
    try:
        for _ in range(threads):
            pool.submit(all_run.wait)
    except RuntimeError:  # fewer threads are enough
        all_run.abort()
    return pool


class TreeThreads:
    """The threads that read one tree, so that a scan or a huge file of one tree delays no other tree.

    Args:
        number: the tree's number.

    Attributes:
        live: for checks, one at a time, and for commands of an operator meanwhile.
        large: for large files, so that no check waits for one.
    """

    def __init__(self, number: int) -> None:
        self.live = started_pool(2, f"live-{number}")
        self.large = started_pool(QUEUES, f"large-{number}")

    async def end(self) -> None:
        """Wait until all running calls have returned, and end the threads."""
        # Not in a pool: a call that hangs would occupy its thread, and asyncio waits for the default pool at the end.
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def wait() -> None:
            self.close()
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(ended.set)

        threading.Thread(target=wait, name="end-of-tree", daemon=True).start()
        await ended.wait()

    def close(self) -> None:
        """Wait until all running calls have returned, and end the threads. Blocks."""
        self.live.shutdown(wait=True)
        self.large.shutdown(wait=True)
