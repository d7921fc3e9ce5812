"""Wait for conditions by polling, instead of fixed sleeps."""

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


async def eventually(condition, what, seconds=FOREVER, pause=0.005):
    """Wait as `wait_for` does, in the event loop."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, (
            f"waited {seconds} s in vain for {what() if callable(what) else what}"
        )
        await asyncio.sleep(pause)
    return result
