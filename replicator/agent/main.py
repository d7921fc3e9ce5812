"""Starts the agent on standard input and output.

Streamed, `serve` is called by the loader that came over the same channel. Pinned, `main` is a forced command of sshd with
`--root DIR`; the backend streams code all the same, not knowing the difference, and it is read and dropped.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Optional

from replicator.agent import roots, sandbox
from replicator.agent.fence import Fenced
from replicator.agent.server import Server
from replicator.errors import ProtocolError
from replicator.wire.frames import MARKER

MAX_CODE = 1 << 20
"""Bytes of streamed code that are skipped in pinned mode: thirty times what there is."""


def main(arguments: list[str]) -> int:
    """Serve one backend in pinned mode; return the exit status.

    Args:
        arguments: `--root DIR`.
    """
    if len(arguments) != 2 or arguments[0] != "--root":
        sys.stderr.write("usage: replicator agent --root DIR\n")
        return 2
    if not os.path.isdir(arguments[1]):
        sys.stderr.write(f"replicator agent: --root {arguments[1]}: no such directory\n")
        return 1
    try:
        _skip_code(0)
    except ProtocolError as error:
        sys.stderr.write(f"replicator agent: {error}\n")
        return 1
    return serve(arguments[1])


def serve(jail: Optional[str]) -> int:
    """Serve one backend; return the exit status.

    Args:
        jail: directory that nothing may leave; None when the backend says where its trees are.
    """
    os.umask(0o077)
    # Whatever a library prints must not end up in the protocol.
    source, sink = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    root = None if jail is None else os.fsencode(jail)
    session = os.urandom(8).hex().encode()
    if jail is not None:
        roots.remember_names()
    confinement = sandbox.restrict(jail)
    try:
        os.write(sink, MARKER)
        Server(source, sink, session=session, jail=root, confinement=confinement).run()
    except (ProtocolError, Fenced) as error:
        with suppress(OSError):  # of an agent that was replaced, nobody may listen any more
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
