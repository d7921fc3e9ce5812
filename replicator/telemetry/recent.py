"""The latest log events, for `status`: what happened lately, without access to the log."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import MutableMapping
from typing import Any

KEPT = 50
"""Events that are kept."""

LONGEST = 300
"""Characters of a value; the rest is cut off."""

LISTED = 3
"""Elements of a list that are shown; the others are counted."""

_OMITTED = {"event", "level", "timestamp", "exc_info", "exception", "stack_info", "line"}
"""Fields that are not kept. `line` is output of a hook, which may contain secrets; the status has no password."""


class Recent:
    """A processor of structlog that keeps the latest events above debug level. Equal ones in a row are one event with a count."""

    def __init__(self) -> None:
        self._events: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._number = 0

    def __call__(
        self, _logger: object, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Keep an event, and pass it on."""
        if event.get("level") != "debug":
            self._keep(event)
        return event

    def _keep(self, event: MutableMapping[str, Any]) -> None:
        about = {name: _shown(value) for name, value in event.items() if name not in _OMITTED}
        kept = {
            "event": _shown(event.get("event", "")),
            "level": event.get("level", "info"),
            "about": about,
        }
        count = 1
        if self._events and _subject(self._events[-1]) == _subject(kept):
            count += self._events.pop()["count"]
        self._number += 1
        self._events.append(
            {"number": self._number, "at": round(time.time(), 3), **kept, "count": count}
        )

    def latest(self) -> list[dict[str, Any]]:
        """Return the events, the oldest first."""
        return list(self._events)


def _subject(event: dict[str, Any]) -> tuple[object, ...]:
    """Return what two events in a row have in common if one line stands for both, such as the deletions of a large directory."""
    about = event["about"]
    return event["event"], event["level"], about.get("tree"), about.get("host"), about.get("state")


def _shown(value: object) -> str:
    if isinstance(value, list | tuple):
        more = f" and {len(value) - LISTED} more" if len(value) > LISTED else ""
        return _cut(", ".join(map(str, value[:LISTED]))) + more
    return _cut(str(value))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


RECENT = Recent()
"""The events of this process."""
