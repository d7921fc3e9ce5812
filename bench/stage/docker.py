"""Frontends in containers: `docker-compose.yml` brought up, the suite run inside of the backend's container, everything taken down.

Inside, the frontends are the addresses of one name, as compose's DNS gives them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench import machine
from bench.stage import Host, Stage

TOP = Path(__file__).parents[2]
SERVICE = "frontend"
KEYS = "/keys"
PATIENCE = 120.0
ENVIRONMENT = {
    "COMPOSE_PROJECT_NAME": "replicator-bench",
    "BACKEND_PEERS": "lsyncd rsync unison syncthing rdiff",
    "FRONTEND_PEERS": "rsync unison syncthing",
}


def inside() -> Stage:
    """Return the stage as the backend's container sees it."""
    found = socket.getaddrinfo(SERVICE, 22, socket.AF_INET, socket.SOCK_STREAM)
    hosts = tuple(Host(address) for address in sorted({str(where[0]) for *_, where in found}))
    return Stage("docker", hosts, f"{KEYS}/id_ed25519", f"{KEYS}/known_hosts", "/srv", "eth0")


def run(
    arguments: Sequence[str], frontends: int, say: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """Run `python -m bench run` with arguments inside, and yield its rows."""
    with up(frontends) as compose:
        told = ["-e", f"BENCH_REVISION={machine.revision()}"]
        command = [*compose, "exec", "-T", *told, "backend", "python3", "-m", "bench", "run", "--on", "inside"]  # fmt: skip
        with subprocess.Popen(
            [*command, *arguments], stdout=subprocess.PIPE, text=True, cwd=TOP, env=environment()
        ) as process:
            assert process.stdout
            try:
                yield from map(json.loads, process.stdout)
            except BaseException:
                process.terminate()
                raise
        if process.returncode:
            say("FAILED: see above")


@contextlib.contextmanager
def up(frontends: int) -> Iterator[list[str]]:
    """Bring everything up, and yield the compose command."""
    compose = _compose()
    try:
        _call([*compose, "down", "--volumes", "--timeout", "2"])  # what a killed run has left
        _call([*compose, "build", "--quiet"])
        _call([*compose, "up", "--detach", "--scale", f"{SERVICE}={frontends}"])
        _await_keys(compose, frontends)
        yield compose
    finally:
        _call([*compose, "down", "--volumes", "--timeout", "2"])


def _compose() -> list[str]:
    """Return docker's own compose, or the older one that is a program of its own."""
    own = ["docker", "compose"]
    if shutil.which("docker") and not subprocess.run([*own, "version"], check=False, capture_output=True).returncode:  # fmt: skip
        return own
    return ["docker-compose"]


def _await_keys(compose: Sequence[str], frontends: int) -> None:
    """Wait until every frontend has told its host key, which is the last that it does before it starts sshd."""
    count = [*compose, "exec", "-T", "backend", "sh", "-c", f"cat {KEYS}/known_hosts | wc -l"]
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        done = subprocess.run(count, cwd=TOP, env=environment(), check=False, capture_output=True, text=True)  # fmt: skip
        if done.stdout.strip() == str(frontends):
            return
        time.sleep(0.5)
    raise TimeoutError(f"{frontends} frontends have not come up within {PATIENCE:.0f} s")


def _call(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, cwd=TOP, env=environment(), stdout=subprocess.DEVNULL)


def environment() -> dict[str, str]:
    """Return what compose is called with: our project's name, and the peers that the images shall have."""
    return {**os.environ, **ENVIRONMENT}
