"""What both transports do before the protocol begins: find the agent's marker behind whatever a login prints."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from replicator.errors import AgentFailed
from replicator.model import printable, shortened
from replicator.wire.frames import MARKER

MAX_NOISE = 64 << 10
"""Bytes before the marker: a banner and a chatty .bashrc, not a stream of something else."""

MAX_STDERR = 16 << 10
"""Bytes of error output that are kept of its beginning, and as many of its end."""

SHOWN = 450
"""Characters of noise or error output in an error text."""


class Errors:
    """Error output within a bound: its beginning and its end."""

    def __init__(self) -> None:
        self._beginning = bytearray()
        self._end = bytearray()
        self._left_out = 0

    def add(self, data: bytes) -> None:
        """Take more output."""
        room = MAX_STDERR - len(self._beginning)
        self._beginning += data[:room]
        self._end += data[room:]
        if (over := len(self._end) - MAX_STDERR) > 0:
            del self._end[:over]
            self._left_out += over

    def said(self) -> str:
        """Return it as one bounded, printable line."""
        return said(bytes(self._beginning + self._end), left_out=self._left_out)


async def after_marker(
    read: Callable[[], Awaitable[bytes]], host: str, seen: bytearray | None = None
) -> tuple[bytes, bytes | None]:
    """Read past the marker; return what came before it, and what came after it: None if the stream ended first.

    Args:
        read: returns the next bytes; empty at the end.
        host: for the error text.
        seen: takes what arrives, for a caller that gives up before the marker.

    Raises:
        AgentFailed: there is too much before it.
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
    """Return output of the far side as one bounded, printable line: its beginning and its end, and how much is left out between.

    Args:
        output: the output.
        left_out: bytes that were dropped from its middle.
    """
    text = " / ".join(printable(line) for line in output.splitlines() if line.strip())
    return shortened(text, SHOWN, left_out=left_out)
