"""Keeps nginx's list of frontends true: asks each one for its ready file, and rewrites the upstream when an answer has changed.

Open nginx has no active health checks. Like a target group's, this one takes in a frontend after one good answer; a bad answer takes it
out at once, no answer only the second time in a row.
"""

from __future__ import annotations

import argparse
import http.client
import os
import signal
import socket
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

INTERVAL = 0.25
TIMEOUT = 1.0
SILENCES = 2
"""A frontend that gives no answer so many times in a row is taken out."""
NOBODY = "unix:/run/nobody.sock"


def addresses(name: str, before: list[str]) -> list[str]:
    """Return the addresses that DNS has for a name, sorted; none if it does not exist (yet).

    Args:
        name: a service.
        before: what to return if DNS does not answer: its outage must not take the frontends out of service.
    """
    try:
        found = socket.getaddrinfo(name, 80, socket.AF_INET, socket.SOCK_STREAM)
    except socket.gaierror as error:
        return before if error.errno == socket.EAI_AGAIN else []
    except OSError:
        return before
    return sorted({str(where[0]) for *_, where in found})


def ask(address: str) -> bool | None:
    """Return whether a frontend says that it is ready, or None if it says nothing."""
    connection = http.client.HTTPConnection(address, 80, timeout=TIMEOUT)
    try:
        connection.request("GET", "/replicator-ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


class Frontends:
    """Which frontends are in service, judged by their answers."""

    def __init__(self) -> None:
        self._silences: dict[str, int] = {}
        self.ready: frozenset[str] = frozenset()

    def judge(self, answers: dict[str, bool | None]) -> frozenset[str]:
        """Take one answer of each known frontend; return who is in service now. Who is not asked any more is out."""
        ready = set()
        for address, answer in answers.items():
            silences = self._silences[address] = self._silences.get(address, 0) + 1 if answer is None else 0  # fmt: skip
            if answer or (answer is None and address in self.ready and silences < SILENCES):
                ready.add(address)
        self._silences = {address: self._silences[address] for address in answers}
        self.ready = frozenset(ready)
        return self.ready


def upstreams(backend: Iterable[str], frontends: Iterable[str]) -> str:
    """Return nginx's configuration of both pools."""
    return pool("backend", backend) + pool("frontends", frontends)


def pool(name: str, servers: Iterable[str]) -> str:
    """Return one `upstream`. Without servers, a local one answers 503. `max_fails=0` because the answers decide, not nginx."""
    lines = [f"  server {server} max_fails=0;\n" for server in sorted(servers) or [NOBODY]]
    return f"upstream {name} {{\n{''.join(lines)}}}\n"


def publish(path: Path, text: str) -> bool:
    """Replace the file; return whether its content is another one now."""
    if path.exists() and path.read_text() == text:
        return False
    new = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)
    return True


def reload() -> None:
    """Let nginx read its configuration again; it finishes what is under way."""
    pid = Path("/run/nginx.pid")
    if pid.exists():
        os.kill(int(pid.read_text()), signal.SIGHUP)


def main() -> None:
    """Ask and publish until this process is ended, or once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--file", type=Path, default=Path("/run/upstream.conf"))
    options = parser.parse_args()
    frontends = Frontends()
    backend: list[str] = []
    known: list[str] = []
    with ThreadPoolExecutor(32) as threads:
        while True:
            backend, known = addresses("backend", backend), addresses("frontend", known)
            before = frontends.ready
            ready = frontends.judge(dict(zip(known, threads.map(ask, known), strict=True)))
            changed = publish(options.file, upstreams(backend, ready))
            if options.once:
                return
            if changed:
                print(f"in service: {sorted(ready)}, before: {sorted(before)}")
                reload()
            time.sleep(INTERVAL)


if __name__ == "__main__":
    main()
