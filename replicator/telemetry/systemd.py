"""Notify the service manager by the sd_notify(3) protocol: datagrams to the socket that $NOTIFY_SOCKET names.

The watchdog's heartbeat is sent from the event loop on purpose: if the loop is blocked, no heartbeat is sent, and systemd restarts
the daemon. Without a service manager nothing is sent.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, MutableMapping
from contextlib import suppress

PACE = 10.0
"""Seconds between two updates of the status text if no watchdog is configured."""

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """Sends notifications to the service manager that started this process.

    Args:
        environment: the process's environment. The protocol's variables are removed from it, so that child processes do not
            inherit them.

    Attributes:
        watchdog: timeout of the watchdog in seconds; 0.0: no watchdog.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        place, period, pid = (environment.pop(name, "") for name in VARIABLES)
        self._address = _address(place)
        ours = not pid or pid == str(os.getpid())
        self.watchdog = int(period) / 1e6 if ours and period.isdecimal() else 0.0
        self._text = ""

    @property
    def has_manager(self) -> bool:
        """True if the environment names a socket of a service manager."""
        return bool(self._address)

    def ready(self, text: str) -> None:
        """Report that start or reload is finished, with a status text of one line."""
        self._text = text
        self._send(f"READY=1\nSTATUS={text}")

    def reloading(self) -> None:
        """Report that the configuration is being reloaded. The caller must call `ready` afterwards."""
        moment = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={moment}\nSTATUS=reloading")

    def stopping(self) -> None:
        """Report that the daemon is shutting down."""
        self._send("STOPPING=1\nSTATUS=draining")

    async def keep(self, describe: Callable[[], str]) -> None:
        """Send heartbeats, two per watchdog timeout, and the status text whenever it changed, until cancelled.

        Args:
            describe: returns the status text, one line; called in the event loop.
        """
        while self._address:
            lines = ["WATCHDOG=1"] if self.watchdog else []
            text = describe()
            if text != self._text:
                self._text = text
                lines.append(f"STATUS={text}")
            if lines:
                self._send("\n".join(lines))
            await asyncio.sleep(self.watchdog / 2 if self.watchdog else PACE)

    def _send(self, text: str) -> None:
        """Send one datagram; drop it if that fails or would block."""
        if not self._address:
            return
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
        with suppress(OSError), socket.socket(socket.AF_UNIX, kind) as sender:
            sender.sendto(text.encode(), self._address)


def _address(place: str) -> str:
    """Return the socket address: a path, or an abstract name (`@name`); empty for other kinds such as `vsock:`."""
    if place.startswith("@"):
        return "\0" + place[1:]
    return place if place.startswith("/") else ""
