"""The HTTP server: who may ask, how much at a time, and what each path answers. Read-only."""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

import structlog
from aiohttp import web

from replicator.http import metrics
from replicator.http.readiness import Check, checks, notes
from replicator.http.snapshot import Snapshots, as_json

log = structlog.get_logger()

MAX_CONNECTIONS = 64
"""Connections at the same time. A further one ends the oldest: a client that never completes a request, or reads no answer, shuts
out nobody."""

MAX_LINE = 4096
"""Bytes of the request line, and of one header field."""

MAX_FIELDS = 50
"""Header fields of a request."""

IDLE = 65.0
"""Seconds without a request after which a connection is closed: Prometheus scrapes every 60 s by default."""

HEADERS = {
    "Server": "replicator",
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Headers of every answer. None of them lets the page of another site read it (CORS)."""

Answer = tuple[int, str, bytes]
"""Status, content type, body."""

TEXT = "text/plain"


class _Server(web.Server):
    """Limits the number of connections."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.Response]]) -> None:
        super().__init__(
            handler,
            access_log=None,
            keepalive_timeout=IDLE,
            lingering_time=0.0,
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
            max_headers=MAX_FIELDS,
        )
        self._open: dict[object, asyncio.Transport] = {}

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        while len(self._open) >= MAX_CONNECTIONS:
            self._open.pop(next(iter(self._open))).abort()
        self._open[handler] = transport

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        self._open.pop(handler, None)
        super().connection_lost(handler, exc)


@asynccontextmanager
async def protocols(
    status: Callable[[], Awaitable[dict[str, Any]]], allowed_hosts: Collection[str]
) -> AsyncIterator[Callable[[], asyncio.Protocol]]:
    """Yield a function that returns the protocol of a new connection, for `loop.create_server`.

    Args:
        status: returns the daemon's status.
        allowed_hosts: see `config.HttpSettings`.
    """
    snapshots = Snapshots(status)
    server = _Server(_Site(snapshots, allowed_hosts).answer)
    try:
        yield server
    finally:
        snapshots.close()
        server.pre_shutdown()
        await server.shutdown(1.0)


class _Site:
    """Answers requests."""

    def __init__(self, snapshots: Snapshots, allowed_hosts: Collection[str]) -> None:
        self._snapshots = snapshots
        self._hosts = {"localhost", *(name.lower() for name in allowed_hosts)}
        page = files("replicator.http") / "page"
        self._files = {
            "/": ("text/html", (page / "index.html").read_bytes()),
            "/page.css": ("text/css", (page / "page.css").read_bytes()),
            "/page.js": ("text/javascript", (page / "page.js").read_bytes()),
            "/icon.svg": ("image/svg+xml", (page / "icon.svg").read_bytes()),
        }
        self._routes = {
            "/livez": self._alive,
            "/healthz": self._alive,
            "/readyz": self._ready,
            "/metrics": self._metrics,
            "/api/v1/status": self._status,
        }

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer a request. Whatever fails, the client is told nothing of the program's inside."""
        try:
            status, kind, body = await self._answer(request)
        except TimeoutError:
            status, kind, body = 503, TEXT, b"the daemon cannot tell its state at present\n"
        except Exception:
            log.exception("http request failed", path=request.path)
            status, kind, body = 500, TEXT, b"internal error, see the daemon's log\n"
        headers = {
            **HEADERS,
            "Content-Type": kind if "charset" in kind else f"{kind}; charset=utf-8",
        }
        if status == 405:
            headers["Allow"] = "GET, HEAD"
        return web.Response(status=status, body=body, headers=headers)

    async def _answer(self, request: web.BaseRequest) -> Answer:
        if not self._is_allowed(request.headers.get("Host", "")):
            return (
                421,
                TEXT,
                b"this server does not have the name in the Host header: see http.allowed_hosts\n",
            )
        if request.method not in ("GET", "HEAD"):
            return 405, TEXT, b"read-only\n"
        if request.path in self._files:
            return 200, *self._files[request.path]
        route = self._routes.get(request.path)
        return await route(request) if route is not None else (404, TEXT, b"not found\n")

    def _is_allowed(self, host: str) -> bool:
        """Return True if a Host header holds an IP address or an allowed name.

        The page of another site, whose owner lets its name resolve to this machine (DNS rebinding), sends that name.
        """
        match = re.fullmatch(r"(?:\[([^\]]*)\]|([^:]*))(?::\d{1,5})?", host)
        if match is None:
            return False
        name = (match[1] or match[2] or "").lower()
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._hosts
        return True

    async def _alive(self, _: web.BaseRequest) -> Answer:
        """That this runs shows that the event loop does. Anything more would make an orchestrator restart the backend for others' faults."""
        return 200, TEXT, b"ok\n"

    async def _ready(self, request: web.BaseRequest) -> Answer:
        noted: list[Check] = []
        try:
            status = (await self._snapshots.get()).status
            found, noted = list(checks(status)), list(notes(status))
        except TimeoutError:
            found = [Check("catalog", "it does not answer")]
        except Exception as error:  # noqa: BLE001  # whatever it is, the daemon is not ready
            log.warning("not ready", reason=repr(error))
            found = [Check("catalog", "it cannot be read, see the daemon's log")]
        ready = not any(check.reason for check in found)
        lines = [
            f"[{'-' if check.reason else '+'}] {check.name}: {check.reason or 'ok'}"
            for check in found
        ]
        lines += [f"[!] {check.name}: {check.reason}" for check in noted]
        if "verbose" not in request.query:
            lines = []
        lines.append("ready" if ready else "not ready")
        return 200 if ready else 503, TEXT, ("\n".join(lines) + "\n").encode("utf-8", "replace")

    async def _metrics(self, _: web.BaseRequest) -> Answer:
        return 200, metrics.CONTENT_TYPE, await self._snapshots.converted(metrics.render)

    async def _status(self, _: web.BaseRequest) -> Answer:
        return 200, "application/json", await self._snapshots.converted(as_json)
