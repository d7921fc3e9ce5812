"""Rate limit for the log: similar lines are logged a few times a minute, and then only counted.

Otherwise a frontend that refuses ten thousand files, or that reconnects all night, could fill the disk. `replicator status` shows
the complete state.
"""

from __future__ import annotations

import time
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog

UNLIMITED = ("deleted", "sent", "removed", "requested")
"""Events without a limit: the log must list every deleted path, at level `debug` every path that was sent, and every permitted request."""

LINES = 10
"""Number of similar lines that are logged in each period."""

MORE_LINES = {"hook output": 50}
"""Events with another number: as many lines as a hook passes on of one run, so that a traceback is complete."""

PERIOD = 60.0
"""Length of a period in seconds."""

_ALIKE = ("event", "host", "machine", "state", "hook", "about")
"""Fields that are equal in similar lines; `about` is the event of a hook."""

KINDS = 10_000
"""Limit of kinds that are counted; a thousand frontends produce several each. Beyond it all counts restart at zero."""


class Limiter:
    """A structlog processor that drops a line if LINES similar ones (or as MORE_LINES says) were logged in the same period.

    Lines are similar if event, frontend, state and hook are equal. The last line before the limit gets a field `more`, which says that
    lines are dropped; the first line of a later period gets a field `left_out` with their number.

    Args:
        clock: returns seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[tuple[object, ...], tuple[float, int]] = {}

    def __call__(
        self,
        _: Any,
        __: str,
        event: MutableMapping[str, Any],
    ) -> MutableMapping[str, Any]:
        """Return the line, or drop it.

        Raises:
            structlog.DropEvent: if the line is over the limit.
        """
        if event.get("event") in UNLIMITED:
            return event
        kind = tuple(event.get(name) for name in _ALIKE)
        most = MORE_LINES.get(event.get("event", ""), LINES)
        now = self._clock()
        since, count = self._seen.get(kind, (now, 0))
        if now - since >= PERIOD:
            if count > most:
                event["left_out"] = count - most
            since, count = now, 0
        if kind not in self._seen and len(self._seen) >= KINDS:
            self._seen.clear()
        self._seen[kind] = since, count + 1
        if count >= most:
            raise structlog.DropEvent
        if count == most - 1:
            event["more"] = f"lines like this are left out for up to {PERIOD:.0f} s"
        return event
