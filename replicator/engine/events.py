"""What happens, for those outside the engine: hooks and metrics subscribe.

`engine.fleet.deliveries`, `engine.control.history` and `engine.control.verifier` publish.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

log = structlog.get_logger()

DELIVERED = "delivered"
FRONTEND_LIVE = "frontend-live"
FRONTEND_DEGRADED = "frontend-degraded"
FRONTEND_LOST = "frontend-lost"
FRONTEND_PAUSED = "frontend-paused"
TREE_HALTED = "tree-halted"
TREE_PAUSED = "tree-paused"
TREE_RESUMED = "tree-resumed"
DELETIONS_HELD = "deletions-held"
VERIFY_DIFFERS = "verify-differs"


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event.

    Attributes:
        name: one of the names above.
        tree: source directory of the tree concerned; empty for an event of a frontend.
        frontend: host of the frontend concerned; empty for an event of a tree.
        reason: why, as a sentence; empty if there is nothing to say.
        path: DELIVERED: the path, relative to `tree`. Empty: everything in the tree.
        target: DELIVERED: the new path, if a directory was renamed.
        is_delete: DELIVERED: True if the path was deleted.
        seconds: DELIVERED: from the publication of the change to the last acknowledgement.
        at: seconds since the epoch.
    """

    name: str
    tree: bytes = b""
    frontend: str = ""
    reason: str = ""
    path: bytes = b""
    target: bytes = b""
    is_delete: bool = False
    seconds: float = 0.0
    at: float = field(default_factory=time.time)


class Events:
    """Passes events to subscribers, on the event loop."""

    def __init__(self) -> None:
        self._subscribers: list[Callable[[Event], None]] = []

    def __bool__(self) -> bool:
        """True if there is a subscriber."""
        return bool(self._subscribers)

    def subscribe(self, subscriber: Callable[[Event], None]) -> None:
        """Call `subscriber` with each event from now on; it must not block."""
        self._subscribers.append(subscriber)

    def unsubscribe(self, subscriber: Callable[[Event], None]) -> None:
        """Do not call a subscriber any more."""
        self._subscribers.remove(subscriber)

    def publish(self, event: Event) -> None:
        """Call every subscriber. One that fails affects neither the others nor replication."""
        for subscriber in list(self._subscribers):
            try:
                subscriber(event)
            except Exception:
                log.exception("internal error", subscriber=repr(subscriber), about=event.name)
