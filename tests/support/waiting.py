"""Wait for a condition, never for luck."""

import asyncio
import time

FOREVER = 60.0
"""Seconds until a wait fails: far longer than anything takes on a machine that is busy with something else."""


def wait_for(condition, what, seconds=FOREVER, pause=0.005):
    """Poll until `condition()` is true, and return what it returned; fail with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, (
            f"waited {seconds} s in vain for {what() if callable(what) else what}"
        )
        time.sleep(pause)
    return result


async def eventually(condition, what, seconds=FOREVER, pause=0.005):
    """The same on the event loop."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, (
            f"waited {seconds} s in vain for {what() if callable(what) else what}"
        )
        await asyncio.sleep(pause)
    return result
