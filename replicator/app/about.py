"""What `status` shows of the daemon itself: its process, its configuration, and where it listens."""

from __future__ import annotations

import os
import time
from typing import Any

from replicator.config import HttpSettings
from replicator.http.listener import Listener


class AboutDaemon:
    """State of the daemon apart from trees and frontends.

    Args:
        http: its HTTP server.
    """

    def __init__(self, http: Listener) -> None:
        self.http = http
        self._read_at = time.time()
        self._error = ""

    def configured(self, http: HttpSettings) -> None:
        """Record that a configuration is in force; use its settings of the HTTP server."""
        self._read_at, self._error = time.time(), ""
        self.http.use(http)

    def refused(self, reason: str) -> None:
        """Record that the configuration was read again, and that the former one stays in force."""
        self._read_at, self._error = time.time(), reason

    def describe(self) -> dict[str, Any]:
        """Return values of `status`."""
        return {
            "pid": os.getpid(),
            "http": self.http.describe(),
            "config": {"read_at": round(self._read_at, 3), "error": self._error},
        }
