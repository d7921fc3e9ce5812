"""What a service manager is told, by the sd_notify protocol: datagrams to the socket that $NOTIFY_SOCKET names.

Everything is sent from the event loop, the watchdog's heartbeat above all: a loop that is blocked sends none, and is restarted.
Outside a service manager all of it does nothing.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, MutableMapping
from contextlib import suppress

PACE = 10.0
"""Seconds between two statuses where no watchdog asks for a heartbeat."""

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """Tells the service manager that started this process.

    Args:
        environment: what it said; its variables are taken out, because they are not for our children.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        place, period, pid = (environment.pop(name, "") for name in VARIABLES)
        self._address = _address(place)
        ours = not pid or pid == str(os.getpid())
        self.watchdog = int(period) / 1e6 if ours and period.isdecimal() else 0.0
        self._text = ""

    @property
    def has_manager(self) -> bool:
        """True if there is a service manager to tell."""
        return bool(self._address)

    def ready(self, text: str) -> None:
        """It serves (again), and this is what it does."""
        self._text = text
        self._send(f"READY=1\nSTATUS={text}")

    def reloading(self) -> None:
        """It loads its configuration anew; `ready` follows."""
        moment = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={moment}\nSTATUS=reloading")

    def stopping(self) -> None:
        """It has begun to end."""
        self._send("STOPPING=1\nSTATUS=draining")

    async def keep(self, describe: Callable[[], str]) -> None:
        """Send heartbeats, twice in each period of the watchdog, and the status when it has changed, until cancelled.

        Args:
            describe: says on one line what the process does; called on the loop.
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
        """Send one datagram, or none: a service manager that cannot take it is no reason to wait, or to fail."""
        if not self._address:
            return
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
        with suppress(OSError), socket.socket(socket.AF_UNIX, kind) as sender:
            sender.sendto(text.encode(), self._address)


def _address(place: str) -> str:
    """Return the address to send to: a path, or an abstract name (`@name`); nothing for what we do not speak."""
    if place.startswith("@"):
        return "\0" + place[1:]
    return place if place.startswith("/") else ""
