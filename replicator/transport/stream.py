"""Common parts of both transports: skip login output up to the agent's marker, and collect error output."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from replicator.errors import AgentFailed
from replicator.model import printable, shortened
from replicator.wire.frames import MARKER

MAX_NOISE = 64 << 10
"""Maximum bytes before the marker: enough for a banner and the output of a .bashrc."""

MAX_STDERR = 16 << 10
"""Bytes of error output that are kept from its beginning, and as many from its end."""

SHOWN = 450
"""Maximum characters of output in an error text."""


class Errors:
    """Bounded buffer of error output: its beginning and its end."""

    def __init__(self) -> None:
        self._beginning = bytearray()
        self._end = bytearray()
        self._left_out = 0

    def add(self, data: bytes) -> None:
        """Append output; drop bytes from the middle beyond the bound."""
        room = MAX_STDERR - len(self._beginning)
        self._beginning += data[:room]
        self._end += data[room:]
        if (over := len(self._end) - MAX_STDERR) > 0:
            del self._end[:over]
            self._left_out += over

    def said(self) -> str:
        """Return the output as one bounded, printable line."""
        return said(bytes(self._beginning + self._end), left_out=self._left_out)


async def after_marker(
    read: Callable[[], Awaitable[bytes]], host: str, seen: bytearray | None = None
) -> tuple[bytes, bytes | None]:
    """Read up to the marker; return the bytes before it, and those after it, or None if the stream ended without a marker.

    Args:
        read: returns the next bytes; empty at the end of the stream.
        host: host, for the error text.
        seen: buffer for the received bytes, for a caller that may cancel this call and report them.

    Raises:
        AgentFailed: if more than MAX_NOISE bytes come before the marker.
    """
    seen = bytearray() if seen is None else seen
    while True:
        noise, marker, rest = bytes(seen).partition(MARKER)
        if len(noise) > MAX_NOISE:
            raise AgentFailed(
                f"{host}: the login prints more than {MAX_NOISE >> 10} KiB before our agent starts, beginning with"
                f" {said(noise[:SHOWN])!r}: make the shell's start files silent for non-interactive logins"
            )
        if marker:
            return noise, rest
        data = await read()
        if not data:
            return bytes(seen), None
        seen += data


def said(output: bytes, *, left_out: int = 0) -> str:
    """Return output as one printable line of about SHOWN characters: its beginning, the number of bytes left out, and its end.

    Args:
        output: the output.
        left_out: number of bytes that were already dropped from its middle.
    """
    text = " / ".join(printable(line) for line in output.splitlines() if line.strip())
    return shortened(text, SHOWN, left_out=left_out)
