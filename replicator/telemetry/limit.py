"""Lines that are alike are logged a few times a minute, and then counted: `status` tells the rest.

A frontend that refuses ten thousand files, or that comes and goes all night, must not fill the disk with its story.
"""

from __future__ import annotations

import time
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog

UNLIMITED = ("deleted", "sent", "removed")
"""Events of which each is logged: what was deleted must be found in the log, and who asks for `debug` wants every path."""

LINES = 10
"""Lines that are alike, in each period."""

PERIOD = 60.0
"""Seconds."""

KINDS = 10_000
"""Kinds of lines that are remembered: a thousand frontends have several each. Then all are forgotten."""


class Limiter:
    """A structlog processor that drops what has been said often enough.

    Lines are alike when event, frontend and state are. The last one before the silence says so, and the first one after it says
    how many were left out.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[tuple[object, ...], tuple[float, int]] = {}

    def __call__(
        self,
        _: Any,  # noqa: ANN401  # structlog's own
        __: str,
        event: MutableMapping[str, Any],
    ) -> MutableMapping[str, Any]:
        """Return the line, or none.

        Raises:
            structlog.DropEvent: it has been said often enough.
        """
        if event.get("event") in UNLIMITED:
            return event
        kind = tuple(event.get(name) for name in ("event", "host", "machine", "state"))
        now = self._clock()
        since, count = self._seen.get(kind, (now, 0))
        if now - since >= PERIOD:
            if count > LINES:
                event["left_out"] = count - LINES
            since, count = now, 0
        if kind not in self._seen and len(self._seen) >= KINDS:
            self._seen.clear()
        self._seen[kind] = since, count + 1
        if count >= LINES:
            raise structlog.DropEvent
        if count == LINES - 1:
            event["more"] = f"lines like this are left out for up to {PERIOD:.0f} s"
        return event
