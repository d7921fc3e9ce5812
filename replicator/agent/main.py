"""Start the agent on standard input and output.

Streamed mode: the loader, which came over the same channel, calls `serve`. Pinned mode: sshd runs `main` as a forced command with
`--root DIR` and options that say what the backend may ask for. The backend cannot tell the modes apart and streams its code in
both; in pinned mode the agent reads and discards it.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Optional

from replicator.agent import boot, memory, pin, roots, sandbox
from replicator.agent.fencing import Fenced, open_locks
from replicator.agent.policy import Policy, may_give_away
from replicator.agent.server import Host, Server
from replicator.errors import NotAllowed, ProtocolError, ReplicatorError
from replicator.wire.frames import MARKER

if TYPE_CHECKING:
    import argparse

MAX_CODE = 1 << 20
"""Largest streamed code, in bytes, that pinned mode skips: thirty times the size of the code today."""


def main(arguments: list[str]) -> int:
    """Serve one backend in pinned mode; return the exit status.

    Args:
        arguments: of `replicator agent`.

    Raises:
        SystemExit: for `--help`, and with status 2 for wrong usage.
    """
    asked = _parser().parse_args(arguments)
    pin_root = os.path.abspath(os.fsencode(asked.root))
    try:
        os.close(roots.open_root(pin_root))
        owner = roots.owner_of(asked.owner)
        if refusal := pin.refusal(pin_root, owner.uid):
            raise NotAllowed(refusal)
    except (OSError, LookupError, ReplicatorError) as error:
        missing = isinstance(error, FileNotFoundError)
        reason = "no such directory" if missing else getattr(error, "strerror", None) or error
        return _complain(f"--root {asked.root}: {reason}")
    places = [os.path.normpath(os.path.join(pin_root, os.fsencode(tree))) for tree in asked.tree]
    trees = frozenset(roots.inside_of(pin_root, place) for place in places)
    try:
        _skip_code(0)
    except ProtocolError as error:
        return _complain(str(error))
    policy = Policy(
        owner,
        asked.allow_setid,
        trees or None,
        asked.symlinks,
        not may_give_away(),
        frozenset(host.lower() for host in asked.store),
    )
    return serve(os.fsdecode(pin_root), policy)


def _parser() -> argparse.ArgumentParser:
    import argparse  # imported here because it takes 4 ms, and streamed agents do not need it

    parser = argparse.ArgumentParser(
        prog="replicator agent",
        allow_abbrev=False,
        description="Receive files on standard input, as a forced command of sshd. What is not allowed here is refused,"
        " whatever the backend asks for.",
        epilog="In authorized_keys, for example: "
        'restrict,from="10.0.0.5",command="/opt/replicator/bin/replicator agent --root /var/www/shop/upload" ssh-ed25519 AAAA...',
    )
    parser.add_argument(
        "--root",
        required=True,
        metavar="DIR",
        help="Nothing outside this directory is touched. A target that lies inside it is used as it is; any other is taken"
        " relative to it, as in a chroot. It must not hold the account's home.",
    )
    parser.add_argument(
        "--owner",
        default="",
        metavar="USER:GROUP",
        help="Who owns what is written; default: the account itself. Another owner is refused.",
    )
    parser.add_argument(
        "--allow-setid",
        action="store_true",
        help="Keep setuid and setgid bits if the backend sends them (tree.setid).",
    )
    parser.add_argument(
        "--tree",
        nargs="+",
        action="extend",
        default=[],
        metavar="DIR",
        help="The only directories that may be targets; default: any below the root.",
    )
    parser.add_argument(
        "--symlinks",
        choices=("all", "inside", "none"),
        default="all",
        help="Which symlinks may be made: all, relative ones that cannot lead out of their tree, or none.",
    )
    parser.add_argument(
        "--store",
        nargs="+",
        action="extend",
        default=[],
        metavar="HOST",
        help="Object stores from which trees may be restored, such as BUCKET.s3.eu-central-1.amazonaws.com; default: none, and"
        " everything comes over SSH. No other host can be contacted.",
    )
    return parser


def _complain(what: str) -> int:
    sys.stderr.write(f"replicator agent: {what}\n")
    return 1


def serve(pin_root: Optional[str], policy: Optional[Policy] = None) -> int:
    """Serve one backend; return the exit status.

    Args:
        pin_root: directory that all trees must lie in; None: the backend chooses their directories.
        policy: what the backend may ask for; None: anything.
    """
    os.umask(0o077)
    memory.keep_freed()
    # Redirect standard output to standard error: what a library prints must not get into the protocol.
    source, sink = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    root = None if pin_root is None else os.path.abspath(os.fsencode(pin_root))
    session = os.urandom(8).hex().encode()
    if pin_root is not None:
        roots.remember_names()
    locks, here = open_locks(), boot.current()
    stores = frozenset() if policy is None else policy.stores
    host = Host(locks, here, sandbox.restrict(pin_root, connects=bool(stores)))
    try:
        os.write(sink, MARKER)
        server = Server(source, sink, session=session, pin_root=root, policy=policy, host=host)
        server.run()
    except (ProtocolError, Fenced, roots.Shared) as error:
        with suppress(OSError):  # the backend of an agent that was replaced has usually hung up
            sys.stderr.write(f"replicator agent: {error}\n")
        return 1
    except ConnectionError:  # the backend hung up before the agent had begun
        return 0
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
