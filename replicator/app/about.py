"""What `status` shows of the daemon itself: its process, its configuration, what has happened, and how long deliveries take."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from replicator.config import HttpSettings
from replicator.engine.control.delivery_times import DeliveryTimes
from replicator.engine.events import Events
from replicator.http.listener import Listener
from replicator.telemetry.recent import RECENT


class AboutDaemon:
    """State of the daemon apart from trees and frontends.

    Args:
        http: its HTTP server.
        settings: the settings of that.
        events: what happens.
        roots: returns the source directories of the replicated trees.
    """

    def __init__(
        self,
        http: Listener,
        settings: HttpSettings,
        events: Events,
        roots: Callable[[], Iterable[bytes]],
    ) -> None:
        self.http = http
        self._roots = roots
        self._events = events
        self._deliveries: DeliveryTimes | None = None
        self._measure(settings)
        self._read_at = time.time()
        self._error = ""

    def configured(self, http: HttpSettings) -> None:
        """Record that a configuration is in force; use its settings of the HTTP server."""
        self._read_at, self._error = time.time(), ""
        self.http.use(http)
        self._measure(http)

    def refused(self, reason: str) -> None:
        """Record that the configuration was read again, and that the former one stays in force."""
        self._read_at, self._error = time.time(), reason

    def describe(self) -> dict[str, Any]:
        """Return values of `status`."""
        measured = {"delivery": self._deliveries.describe()} if self._deliveries else {}
        return {
            **measured,
            "events": RECENT.latest(),
            "pid": os.getpid(),
            "http": self.http.describe(),
            "config": {"read_at": round(self._read_at, 3), "error": self._error},
        }

    def _measure(self, settings: HttpSettings) -> None:
        """Measure deliveries while HTTP is configured: following each change costs time, which nobody pays for nothing."""
        if settings.listen and self._deliveries is None:
            self._deliveries = DeliveryTimes(self._roots)
            self._events.subscribe(self._deliveries.record)
        elif not settings.listen and self._deliveries is not None:
            self._events.unsubscribe(self._deliveries.record)
            self._deliveries = None
