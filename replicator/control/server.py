"""The daemon's side of the control socket: one request, any number of answer lines, then an error or END."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import structlog

from replicator.control import END
from replicator.control.members import admit, may_command
from replicator.errors import ControlError, ReplicatorError
from replicator.model import printable
from replicator.shortage import shortage

log = structlog.get_logger()

Handler = Callable[[dict[str, Any]], AsyncGenerator[dict[str, Any], None]]

MAX_REQUEST = 64 << 10

REQUEST_WITHIN = 10.0
"""Seconds within which the request must have arrived."""

MEMBERS = 16
"""Connections at the same time of users who may only read. Each takes a descriptor, and a `wait` up to a twentieth of the event loop's time."""

READING = ("status", "wait")
"""Requests that change nothing; all others are logged with their sender, also if they are refused."""

_CREDENTIALS = struct.Struct("3i")
"""Process, user and group id of the peer of a Unix socket (SO_PEERCRED, unix(7))."""


@asynccontextmanager
async def serve(path: Path, handler: Handler, group: int | None = None) -> AsyncIterator[None]:
    """Listen on a socket that only this user can open; a stale one is replaced (the caller holds the daemon's lock).

    Args:
        path: of the socket.
        handler: yields the answer to a request; a ReplicatorError becomes the last line.
        group: numeric id of a group whose members may make requests that change nothing; None: nobody else may connect.

    Raises:
        ControlError: if the socket cannot be made, or the group cannot be let in.
    """
    _remove(path)

    members: set[asyncio.StreamWriter] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not may_command(_sender(writer)[1]):
            members.add(writer)
        # Cancelled, the daemon ends; Python 3.11 would log that as an error, with a traceback.
        with suppress(ConnectionError, asyncio.CancelledError):
            try:
                if writer in members and len(members) > MEMBERS:
                    await _say(writer, {"error": "too many connections of members of the group"})
                else:
                    await _answer(reader, writer, handler)
            finally:
                writer.close()
                with suppress(ConnectionError):
                    await writer.wait_closed()
                members.discard(writer)

    mask = os.umask(0o177)
    try:
        server = await asyncio.start_unix_server(connected, path, limit=MAX_REQUEST)
    finally:
        os.umask(mask)
    try:
        if group is not None:
            admit(path, group)
        yield
    finally:
        server.close()
        with suppress(ControlError):
            _remove(path)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except (IsADirectoryError, PermissionError) as error:
        where = "a directory is in its place" if path.is_dir() else error.strerror
        raise ControlError(
            f"the control socket {path} cannot be made: {where}: remove it"
        ) from error


async def _answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler
) -> None:
    try:
        async with asyncio.timeout(REQUEST_WITHIN):
            request = json.loads(await reader.readline())
        if not isinstance(request, dict):
            raise ValueError  # noqa: TRY004, TRY301  # one answer for all that is no request
    except TimeoutError:
        await _say(writer, {"error": f"no request within {REQUEST_WITHIN:g} s"})
        return
    except (ValueError, RecursionError):
        await _say(writer, {"error": "expected one JSON object on a line"})
        return
    if request.get("command") not in READING:
        pid, user = _sender(writer)
        about, sender = _about(request), {"user": _name(user), "pid": pid}
        if not may_command(user):
            # Without the host: each would have its own share of the log's limit.
            log.warning("request refused", command=about.get("command", ""), **sender)
            await _say(writer, {"error": f"only root and {_name(os.geteuid())} may do this"})
            return
        log.info("requested", **about, **sender)
        request["by"] = about.get("sudo_user") or sender["user"]
    try:
        async with aclosing(handler(request)) as lines:  # who hangs up ends what he asked for
            async for line in lines:
                await _say(writer, line)
        await _say(writer, END)
    except ReplicatorError as error:
        await _say(writer, {"error": str(error)})
    except ConnectionError:
        raise
    except Exception as error:
        log.exception("request failed", **_about(request))
        await _say(writer, {"error": shortage(error) or f"internal error: {error!r}"})


def _about(request: dict[str, Any]) -> dict[str, str]:
    """Return what the log says of a request; its values are not checked yet."""
    wanted = ("command", "name", "host", "repair", "sudo_user")
    return {name: _shown(request[name]) for name in wanted if request.get(name)}


def _shown(value: object) -> str:
    return printable(str(value)[:200].encode("utf-8", "surrogatepass"))


def _sender(writer: asyncio.StreamWriter) -> tuple[int, int]:
    """Return the process and the user that have connected."""
    credentials = writer.get_extra_info("socket").getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
    )
    pid, uid, _ = _CREDENTIALS.unpack(credentials)
    return pid, uid


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


async def _say(writer: asyncio.StreamWriter, line: dict[str, Any]) -> None:
    writer.write(json.dumps(line).encode() + b"\n")
    await writer.drain()
