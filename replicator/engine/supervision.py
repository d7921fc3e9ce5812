"""Failures of tasks: restart a task that fails, and turn an exception into a sentence.

A failure of any type ends one scope (a connection, a tree, a provider) and affects no other. It is logged once, with a traceback if it is a
bug, and `status` shows it until the task works again.

An exception group is caught with `except`, never with `except*`: before Python 3.11.4 (Debian 12 has 3.11.2) an exception
that is raised inside `except*` leaves it wrapped in one more group, so that the caller's `except SourceError` does not match.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from replicator.core.pace import Backoff
from replicator.errors import ReplicatorError
from replicator.shortage import shortage

log = structlog.get_logger()

STABLE = 60.0
"""Seconds after which a task counts as working: its next failure is the first of a new series."""


def leaves(error: BaseException) -> list[BaseException]:
    """Return the exceptions in a group, at any depth; or the exception itself if it is no group."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for member in error.exceptions for leaf in leaves(member)]


def sentence(error: BaseException) -> tuple[str, bool]:
    """Return one sentence that says why a task failed, and True if the cause is a bug of the program."""
    causes = leaves(error)
    for cause in causes:
        if not isinstance(cause, ReplicatorError) and (lacking := shortage(cause)):
            return lacking, False
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
    """Call `run` until cancelled, and again after a pause that grows whenever it fails or returns.

    Args:
        run: the work; it is not expected to return.
        name: name of the task in the log.
        failed: called with the reason of each failure, as a sentence.
        pauses: delays between attempts.
    """
    attempts, logged = 0, ""
    loop = asyncio.get_running_loop()
    while True:
        began, reason, bug = loop.time(), "it ended by itself", None
        try:
            await run()
        except Exception as caught:  # noqa: BLE001  # a failure of any type affects only this task
            reason, is_bug = sentence(caught)
            bug = caught if is_bug else None
        attempts = 1 if loop.time() - began > STABLE else attempts + 1
        if reason != logged:
            log.error("task failed", task=name, reason=reason, exc_info=bug)
        logged = reason
        failed(reason)
        await asyncio.sleep(pauses.delay(attempts))
