"""What both transports do before the protocol begins: find the agent's marker behind whatever a login prints."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from replicator.errors import AgentFailed
from replicator.model import printable
from replicator.wire.frames import MARKER

MAX_NOISE = 64 << 10
"""Bytes before the marker: a banner and a chatty .bashrc, not a stream of something else."""

MAX_STDERR = 32 << 10
"""Bytes of error output that are kept (mutagen keeps as many)."""

SHOWN = 300
"""Characters of noise or error output in an error text."""


async def after_marker(
    read: Callable[[], Awaitable[bytes]], host: str
) -> tuple[bytes, bytes | None]:
    """Read past the marker; return what came before it, and what came after it: None if the stream ended first.

    Args:
        read: returns the next bytes; empty at the end.
        host: for the error text.

    Raises:
        AgentFailed: there is too much before it.
    """
    seen = b""
    while True:
        noise, marker, rest = seen.partition(MARKER)
        if len(noise) > MAX_NOISE:
            raise AgentFailed(
                f"{host}: the login prints more than {MAX_NOISE >> 10} KiB before our agent starts, beginning with"
                f" {said(noise[:SHOWN])!r}: make the shell's start files silent for non-interactive logins"
            )
        if marker:
            return noise, rest
        data = await read()
        if not data:
            return seen, None
        seen += data


def said(output: bytes) -> str:
    """Return output of the far side as one bounded, printable line."""
    lines = [printable(line) for line in output.splitlines() if line.strip()]
    return " / ".join(lines)[-SHOWN:]
