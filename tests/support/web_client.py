"""A small HTTP client that sends exactly the bytes of a test, and statuses for the server to show."""

import asyncio
import copy
import socket
from typing import NamedTuple

FRONTEND = {
    "host": "10.0.0.1", "port": 0, "user": "", "state": "live", "source": "static", "instance_id": "",
    "discovery_state": "", "draining": False, "launch": "", "ready": None, "connected": True, "dirty": 0,
    "lag_seconds": 0.0, "queue_position": None, "files_sent": 7, "deletions_sent": 2, "refusals": {"denied": 3}, "bytes_sent": 1000,
    "bytes_saved": 10, "logins": 1, "failures": 0, "reconciles": 1, "agent": "python 3.11.2 on web1",
    "progress": {"files_done": 7, "files_total": 7, "bytes_done": 900, "bytes_total": 900, "bytes_per_second": 9,
                 "eta_seconds": None, "seconds": 1.5},
    "last_error": "", "excess": "", "unlisted": [], "problems": [], "paused": None, "since": 1000.0, "in_sync_at": 1990.0, "verified": None,
}  # fmt: skip
TREE = {
    "source": "/srv/www", "state": "watching", "entries": 12, "bytes": 3400, "bytes_read": 3400, "files_hashed": 10,
    "overflows": 0, "pending": 0, "lag_seconds": 0.0, "held_deletions": 0, "held_samples": [], "watches": 3,
    "problems": [], "unreadable": [], "paused": None, "since": 900.0,
}  # fmt: skip
PROVIDER = {
    "provider": "static", "members": 1, "looks": 1, "failures": 0, "answered": True, "error": "", "doubt": "",
    "notes": [], "answered_at": 950.0, "decisions": [],
}  # fmt: skip


BASE = {
    "time": 2000.0, "error": "", "failures": 0, "prune_error": "", "interval": 300.0, "requests": 12, "bytes_sent": 3 << 20, "packs": 4,
    "bytes": 6 << 20, "pruned_at": None, "pruned": None,
    "trees": [{
        "source": "/srv/www", "error": "", "skipped": "", "current_at": 1940.0, "manifest": "ab" * 32, "published_at": 1000.0,
        "age_seconds": 1000.0, "entries": 20_000, "bytes": 4 << 20, "packs": 3, "stored": 5 << 20, "dead_share": 0.2, "left_out": 0,
    }],
}  # fmt: skip
"""What `status` says of a base."""


def status(frontends=(), tree=None, provider=None, **more):
    """Return a status: one frontend for each dict of `frontends`, which holds what differs from FRONTEND."""
    made = {
        "ok": True,
        "version": "1.2.3",
        "frontends": [FRONTEND | row for row in frontends],
        "trees": [TREE | (tree or {})],
        "discovery": [PROVIDER | (provider or {})],
        "bootstrapping": 0,
        "bootstraps": {"buckets": [[0.1, 1], [60.0, 4]], "count": 5, "seconds": 90.5},
        "launches": {"in_service": 2, "abandoned": 0, "left": 1},
        "time": 2000.0,
        "uptime_seconds": 1100.0,
        "inotify": {"watches": 3, "limit": 8192},
        "http": {"listen": "127.0.0.1:9440", "error": ""},
        "config": {"read_at": 900.0, "error": ""},
        "verify": {"schedule": "", "interval_seconds": None, "next": None, "running": ""},
    }
    return copy.deepcopy(made | more)


class Response(NamedTuple):
    status: int
    headers: dict
    body: bytes


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


async def connect(listen):
    if listen.startswith("/"):
        return await asyncio.open_unix_connection(listen)
    host, _, port = listen.rpartition(":")
    return await asyncio.open_connection(host.strip("[]"), int(port))


async def ask(listen, path, *, method="GET", host="localhost", headers=()):
    """Send one request on a new connection, and read the answer to its end."""
    lines = [
        f"{method} {path} HTTP/1.1",
        *([f"Host: {host}"] if host is not None else []),
        *headers,
    ]
    return await send(listen, "\r\n".join([*lines, "Connection: close", "", ""]).encode())


async def send(listen, request):
    """Send bytes, and read the answer to its end."""
    reader, writer = await connect(listen)
    try:
        writer.write(request)
        return parsed(await asyncio.wait_for(reader.read(), 10))
    finally:
        writer.close()


def parsed(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return Response(int(first.split()[1]), {k.lower(): v for k, v in headers.items()}, body)
