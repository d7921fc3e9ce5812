"""Check this machine: the user, the keys, the state directory and the limits of inotify."""

from __future__ import annotations

import os
import pwd
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from replicator.config import AUTHENTICATED_CIPHERS, Config
from replicator.doctor.finding import Finding
from replicator.transport.algorithms import MACS, unauthenticated


def identity_findings(config: Config) -> Iterator[Finding]:
    """Check the key and known_hosts."""
    identity = config.ssh.identity
    if not identity:
        return
    try:
        mode = Path(identity).stat().st_mode
    except OSError as error:
        yield Finding(
            "fail", "ssh.identity", f"{identity}: {error.strerror}", "no frontend can be logged in to",
            f"ssh-keygen -t ed25519 -N '' -f {identity}",
        )  # fmt: skip
        return
    if mode & 0o077:
        yield Finding(
            "warn", "ssh.identity", f"{identity} can be read by others (mode {stat.S_IMODE(mode):o})",
            "whoever reads it can write to every frontend", f"chmod 600 {identity}",
        )  # fmt: skip
    else:
        yield Finding("ok", "ssh.identity", identity)
    if not os.access(config.ssh.known_hosts, os.R_OK):
        yield Finding(
            "fail", "ssh.known_hosts", f"{config.ssh.known_hosts} cannot be read",
            "replicator does not connect to a host whose key it cannot verify",
            f"ssh-keyscan -p {config.ssh.port} HOST >> {config.ssh.known_hosts}  (and compare the fingerprint over another channel)",
        )  # fmt: skip


def cipher_findings(ciphers: Sequence[str]) -> Iterator[Finding]:
    """Warn of ciphers that do not authenticate."""
    if weak := unauthenticated(ciphers):
        yield Finding(
            "warn", "ssh.ciphers", f"allows {', '.join(weak)}, with a MAC of {', '.join(MACS)}",
            "AES-GCM and ChaCha20-Poly1305 are authenticated ciphers: they are faster and safer",
            f"let every frontend's sshd offer one of {', '.join(AUTHENTICATED_CIPHERS)}, and remove the others from ssh.ciphers",
        )  # fmt: skip


def as_daemon(user: str) -> str:
    """Return the command that runs `check` with the user, capabilities and limits of deploy/replicator.service."""
    return (
        f"systemd-run --quiet --pipe --wait --collect --uid={user}"
        " -p 'AmbientCapabilities=CAP_DAC_READ_SEARCH CAP_LEASE' -p LimitNOFILE=65536"
        f" {Path(sys.prefix, 'bin', 'replicator')} check"
    )


def user_findings(directory: Path) -> Iterator[Finding]:
    """Warn if this process runs as another user than the daemon, which owns the state directory."""
    try:
        owner = directory.stat().st_uid
    except OSError:  # it does not exist yet, or this user may not read its parent
        return
    if owner != os.geteuid():
        yield Finding(
            "warn", "check", f"runs as {name_of(os.geteuid())}, but the daemon runs as {name_of(owner)}, who owns {directory}",
            "sources, keys and limits were tested with other permissions than the daemon has",
            f"{as_daemon(name_of(owner))}  (as root; with --config as for this call)",
        )  # fmt: skip


def name_of(uid: int) -> str:
    """Return the name of a user; the number if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def state_findings(directory: Path) -> Iterator[Finding]:
    """Check the permissions of the state directory."""
    parent = next(p for p in (directory, *directory.parents) if p.exists())
    if directory.exists() and directory.stat().st_uid != os.geteuid():
        return  # `user_findings` reports that
    if not os.access(parent, os.W_OK):
        yield Finding(
            "fail", "state.directory", f"{directory} cannot be written", "catalog, lock and control socket are kept there",
            f"install -d -m 700 -o {name_of(os.geteuid())} {directory}",
        )  # fmt: skip
    elif directory.exists() and directory.stat().st_mode & 0o067:  # passable for control.group
        yield Finding(
            "warn", "state.directory", f"{directory} can be opened by others",
            "the catalog shows every path in the trees", f"chmod 700 {directory}",
        )  # fmt: skip
    else:
        yield Finding("ok", "state.directory", str(directory))


def watch_findings(directories: int) -> Iterator[Finding]:
    """Compare the limits of inotify with what this number of directories needs."""
    for name, needed, why in (
        (
            "fs/inotify/max_user_watches",
            directories * 2 + 1024,
            "directories beyond it are scanned every settle.rescan seconds instead of watched",
        ),
        (
            "user/max_inotify_watches",
            directories * 2 + 1024,
            "it limits the watches per user, also in a container",
        ),
        (
            "fs/inotify/max_queued_events",
            16384,
            "when the queue overflows, the whole tree is scanned",
        ),
        ("fs/inotify/max_user_instances", 16, "without an instance nothing can be watched"),
    ):
        try:
            limit = int(Path("/proc/sys", name).read_text())
        except (OSError, ValueError):
            continue
        name = name.replace("/", ".")
        if limit < needed:
            fix = f"echo {name}={needed} > /etc/sysctl.d/60-replicator.conf && sysctl --system"
            yield Finding("warn", name, f"{limit}, but {needed} is recommended", why, fix)
        else:
            yield Finding("ok", name, str(limit))
