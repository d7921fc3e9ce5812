"""Wait for conditions by polling, and for turns of the event loop, instead of fixed sleeps."""

import asyncio
import time

FOREVER = 60.0
"""Seconds until a wait fails; far longer than any operation takes, even on a busy machine."""


def wait_for(condition, what, seconds=FOREVER, pause=0.005):
    """Poll until `condition()` is true, and return its result.

    Args:
        condition: called without arguments.
        what: description for the error message, or a function that returns it.
        seconds: time limit.
        pause: seconds between two polls.

    Raises:
        AssertionError: if the time is over.
    """
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, (
            f"waited {seconds} s in vain for {what() if callable(what) else what}"
        )
        time.sleep(pause)
    return result


async def turns(count=1):
    """Let every task that is ready run until it waits again, so many times. It takes no time of the clock."""
    for _ in range(count):
        await asyncio.sleep(0)


async def eventually(condition, what, seconds=FOREVER, pause=0.005):
    """Wait as `wait_for` does, in the event loop."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, (
            f"waited {seconds} s in vain for {what() if callable(what) else what}"
        )
        await asyncio.sleep(pause)
    return result
