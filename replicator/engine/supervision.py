"""Every task has an owner: a failure of any type ends the scope that the task works for, and nothing beyond.

It is logged once, with a traceback if it is a bug, and the owner shows it in `status` until the task works again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from replicator.core.pace import Backoff
from replicator.engine.groups import leaves
from replicator.errors import ReplicatorError

log = structlog.get_logger()

STABLE = 60.0
"""Seconds that a task must have run for its next failure to count as the first."""


def sentence(error: BaseException) -> tuple[str, bool]:
    """Say in one sentence why a task ended, and whether that is a bug: no trouble of what it works for."""
    causes = leaves(error)
    for cause in causes:
        if isinstance(cause, MemoryError):
            return "there is not enough memory", False
        if not isinstance(cause, ReplicatorError | TimeoutError):
            return f"internal error: {cause!r}", True
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return "the agent did not answer in time", False
    return str(causes[0]), False


async def keep_running(
    run: Callable[[], Awaitable[None]],
    name: str,
    failed: Callable[[str], None],
    pauses: Backoff,
) -> None:
    """Run until cancelled, again after a growing pause whenever `run` fails or returns.

    Args:
        run: must not return by itself.
        name: what the log calls it.
        failed: called with the reason of each failure, as a sentence.
        pauses: from the first failure on.
    """
    attempts, told = 0, ""
    loop = asyncio.get_running_loop()
    while True:
        began, reason, error = loop.time(), "it ended by itself", None
        try:
            await run()
        except Exception as caught:  # noqa: BLE001  # it must not end anything else
            error = caught
            reason, _ = sentence(caught)
        attempts = 1 if loop.time() - began > STABLE else attempts + 1
        if reason != told:
            log.error("task failed", task=name, reason=reason, exc_info=error)
        told = reason
        failed(reason)
        await asyncio.sleep(pauses.delay(attempts))
