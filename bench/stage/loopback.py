"""Frontends on this machine: an OpenSSH server each, on an address of its own, with a disk of its own.

Each server runs in a mount namespace in which one directory stands where all frontends have their target, so that one path means
another place on each. That takes root.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.stage import Host, Stage

NETWORK = "127.0.8"
PATIENCE = 10.0


def missing() -> str:
    """Return why this machine cannot have such frontends; empty if it can."""
    if not shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin"):
        return "sshd is not installed (apt-get install openssh-server)"
    namespace = ["unshare", "--mount", "--propagation", "private", "true"]
    if subprocess.run(namespace, check=False, capture_output=True).returncode:
        return "mount namespaces are needed (root)"
    return ""


@contextlib.contextmanager
def frontends(count: int) -> Iterator[Stage]:
    """Serve while the context lasts; their disks are where $TMPDIR says, and vanish with it."""
    directory = Path(tempfile.mkdtemp(prefix="replicator-stage-"))
    servers: list[subprocess.Popen[bytes]] = []
    try:
        key = _make_key(directory / "client")
        (directory / "target").mkdir()
        port = _free_port()
        hosts = tuple(Host(f"{NETWORK}.{number}", port) for number in range(1, count + 1))
        servers.extend(_start(directory, host, key) for host in hosts)
        for host in hosts:
            _await(host)
        lines = [f"[{h.address}]:{h.port} {_public(directory / h.address / 'key')}\n" for h in hosts]  # fmt: skip
        (directory / "known_hosts").write_text("".join(lines))
        name = f"loopback, {_file_system(directory)}"
        yield Stage(
            name, hosts, str(key), str(directory / "known_hosts"), f"{directory}/target", "lo"
        )
    finally:
        for server in servers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()
        shutil.rmtree(directory, ignore_errors=True)


def _start(directory: Path, host: Host, client: Path) -> subprocess.Popen[bytes]:
    place = directory / host.address
    for name in ("disk", "home", "bin"):
        (place / name).mkdir(parents=True)
    # The interpreter itself, as a frontend has it: what a version manager puts before it takes a tenth of a second.
    (place / "bin" / "python3").symlink_to(os.path.realpath(sys.executable))
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    config = place / "sshd_config"
    config.write_text(
        f"ListenAddress {host.address}:{host.port}\n"
        f"HostKey {_make_key(place / 'key')}\n"
        f"AuthorizedKeysFile {client}.pub\n"
        "StrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\n"
        "PermitRootLogin prohibit-password\nMaxStartups 200\nMaxSessions 100\nLogLevel ERROR\n"
        f'SetEnv "HOME={place}/home" "PATH={place}/bin:{os.environ["PATH"]}"\n'
    )
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    mount = f"mount --bind {shlex.quote(f'{place}/disk')} {shlex.quote(f'{directory}/target')}"
    # Even a run that is killed leaves no server behind.
    serve = f"exec setpriv --pdeathsig KILL {sshd} -D -e -f {shlex.quote(str(config))}"
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", f"{mount} && {serve}"]
    with (place / "log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)  # fmt: skip


def _await(host: Host) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection((host.address, host.port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _make_key(path: Path) -> Path:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", path], check=True
    )
    return path


def _public(key: Path) -> str:
    return " ".join(Path(f"{key}.pub").read_text().split()[:2])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((f"{NETWORK}.1", 0))
        return int(probe.getsockname()[1])


def _file_system(path: Path) -> str:
    done = subprocess.run(
        ["df", "--output=fstype", path], check=True, capture_output=True, text=True
    )
    return done.stdout.split()[-1]
