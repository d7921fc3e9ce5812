"""Listens where the settings say, and again after they have changed or the address was in use."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import structlog

from replicator.config import HttpSettings, parse_listen

log = structlog.get_logger()

RETRY = 10.0
"""Seconds until an address that is in use is tried again."""


class Listener:
    """The HTTP server of a daemon.

    Args:
        settings: the settings.
        status: returns the daemon's status.

    Attributes:
        error: why it does not listen, as a sentence; empty if it listens or is off.
    """

    def __init__(
        self, settings: HttpSettings, status: Callable[[], Awaitable[dict[str, Any]]]
    ) -> None:
        self.error = ""
        self._settings = settings
        self._status = status
        self._changed = asyncio.Event()

    def use(self, settings: HttpSettings) -> None:
        """Apply other settings."""
        if settings != self._settings:
            self._settings = settings
            self._changed.set()

    def describe(self) -> dict[str, str]:
        """Return what `status` shows."""
        return {"listen": self._settings.listen, "error": self.error}

    def failed(self, reason: str) -> None:
        """Record that `run` has failed."""
        self.error = reason

    async def run(self) -> None:
        """Listen until cancelled. If that fails, try again; replication goes on."""
        while True:
            self._changed.clear()
            settings = self._settings
            if not settings.listen:
                self.error = ""
                await self._changed.wait()
                continue
            try:
                async with _listening(settings, self._status):
                    self.error = ""
                    log.info("http listens", listen=settings.listen)
                    await self._changed.wait()
            except OSError as error:
                self._tell(f"HTTP does not listen on {settings.listen}: {_reason(error)}.")
                with suppress(TimeoutError):
                    async with asyncio.timeout(RETRY):
                        await self._changed.wait()

    def _tell(self, reason: str) -> None:
        if reason != self.error:
            log.warning("http does not listen", reason=reason)
        self.error = reason


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program uses this address"
    return os.strerror(error.errno) if error.errno else str(error)


@asynccontextmanager
async def _listening(
    settings: HttpSettings, status: Callable[[], Awaitable[dict[str, Any]]]
) -> AsyncIterator[None]:
    """Listen until the context ends.

    Raises:
        OSError: if the address cannot be used.
    """
    from replicator.http.server import protocols  # late: needs the extra `http`, and 0.1 s

    loop = asyncio.get_running_loop()
    with bound(settings.listen) as sock:
        async with protocols(status, settings.allowed_hosts) as protocol:
            is_unix = sock.family == socket.AF_UNIX
            create = loop.create_unix_server if is_unix else loop.create_server
            server = await create(protocol, sock=sock)
            try:
                yield
            finally:
                server.close()
                if is_unix:
                    _remove(settings.listen)


def bound(listen: str) -> socket.socket:
    """Return a socket that is bound to an address."""
    where = parse_listen("http.listen", listen)
    if isinstance(where, str):
        _remove_stale(Path(where))
        sock = socket.socket(socket.AF_UNIX)
        mask = os.umask(0o117)  # the daemon's user and group
        try:
            sock.bind(where)
        except BaseException:
            sock.close()
            raise
        finally:
            os.umask(mask)
        return sock
    host, port = where
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def _remove(path: str) -> None:
    with suppress(OSError):
        Path(path).unlink()


def _remove_stale(path: Path) -> None:
    """Remove a socket that a daemon has left behind.

    Raises:
        OSError: if another program listens on it, or it is no socket.
    """
    if not path.exists():
        return
    if not path.is_socket():
        raise OSError(errno.EEXIST, "")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        with suppress(ConnectionRefusedError):
            probe.connect(str(path))
            raise OSError(errno.EADDRINUSE, "")
    path.unlink(missing_ok=True)
