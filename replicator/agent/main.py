"""Starts the agent on standard input and output.

Streamed, it is called with no arguments by the loader that came over the same channel. Pinned, it is a forced command of
sshd with `--root DIR`; the backend streams code all the same, not knowing the difference, and it is read and dropped.
"""

from __future__ import annotations

import os
import sys
from typing import Optional

from replicator.agent.server import Server
from replicator.errors import ProtocolError
from replicator.wire.frames import MARKER

MAX_CODE = 1 << 20
"""Bytes of streamed code that are skipped in pinned mode: thirty times what there is."""


def main(arguments: list[str]) -> int:
    """Serve one backend; return the exit status.

    Args:
        arguments: nothing, or `--root DIR`.
    """
    jail: Optional[bytes] = None
    if arguments:
        if len(arguments) != 2 or arguments[0] != "--root":
            sys.stderr.write("usage: replicator agent --root DIR\n")
            return 2
        jail = os.fsencode(arguments[1])
        if not os.path.isdir(jail):
            sys.stderr.write(f"replicator agent: --root {arguments[1]}: no such directory\n")
            return 1
    os.umask(0o077)
    # Whatever a library prints must not end up in the protocol.
    source, sink = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    try:
        os.write(sink, MARKER)
        if jail is not None:
            _skip_code(source)
        Server(source, sink, session=os.urandom(8).hex().encode(), jail=jail).run()
    except ProtocolError as error:
        sys.stderr.write(f"replicator agent: {error}\n")
        return 1
    return 0


def _skip_code(source: int) -> None:
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(source, 1)
        if not byte or len(line) > 100:
            raise ProtocolError("expected the streamed code's length")
        line += byte
    try:
        left = int(line.split()[0])
    except (ValueError, IndexError):
        raise ProtocolError("expected the streamed code's length") from None
    if not 0 <= left <= MAX_CODE:
        raise ProtocolError("streamed code is too long")
    while left:
        piece = os.read(source, min(left, 1 << 16))
        if not piece:
            raise ProtocolError("streamed code ended early")
        left -= len(piece)
