"""Diagnose a backend for `replicator check`: each finding says what was found, why it matters, and how to fix it."""

from __future__ import annotations

import asyncio
import os
import pwd
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from replicator import app, discover_once
from replicator.config import AUTHENTICATED_CIPHERS, Config, TreeSettings
from replicator.core.filters import Filter
from replicator.discovery.aws.client import Aws
from replicator.doctor.cloud import cloud_findings, own_targets
from replicator.doctor.finding import Finding
from replicator.doctor.frontends import examine_frontend
from replicator.doctor.patterns import idle_patterns, misplaced_preset, missing_directories
from replicator.errors import ConfigError, SourceError
from replicator.model import DIRECTORY, ROOT, Unlisted, printable
from replicator.ports import Candidate
from replicator.source.tree import SourceTree
from replicator.transport.algorithms import MACS, unauthenticated
from replicator.transport.ssh import SSHConnector

PARALLEL = 10
"""Number of frontends that are tested at the same time."""


async def check(config: Config) -> list[Finding]:
    """Return all findings, in the order in which an operator would fix them.

    Creates missing target directories, and writes a small file into each target and removes it. Changes nothing else.
    """
    findings = list(_examine_user(Path(config.state.directory)))
    findings += _examine_identity(config)
    findings += _examine_ciphers(config.ssh.ciphers)
    findings += _examine_state(Path(config.state.directory))
    directories = 0
    for tree in config.tree:
        found, count = await asyncio.to_thread(_examine_tree, tree)
        findings += found
        directories += count
    findings += _examine_watches(directories)
    aws = Aws(region=config.discovery.region, endpoint_url=config.discovery.endpoint_url)
    connector = SSHConnector(config.ssh, app.host_key_policy(config, aws))
    places = asyncio.Semaphore(PARALLEL)

    async def one(candidate: Candidate) -> list[Finding]:
        async with places:
            return await examine_frontend(connector, candidate, config)

    answers = await discover_once.ask_all(config)
    findings += [finding for answer in answers for finding in _examine_answer(answer)]
    findings += await cloud_findings(config, aws)
    candidates = discover_once.frontends_in(answers)
    findings += own_targets(candidates)
    if not candidates:
        findings.append(
            Finding("warn", "discovery", "there are no frontends", "no file is replicated")
        )
    for found in await asyncio.gather(*map(one, candidates)):
        findings += found
    return findings


def daemon_findings(status: dict[str, Any]) -> Iterator[Finding]:
    """Yield the problems that a running daemon reports about its trees and frontends.

    Args:
        status: the daemon's answer to `status`.
    """
    for tree in status["trees"]:
        subject = f"daemon, tree {tree['source']}"
        if tree["state"] in ("halted", "paused"):
            what = "; ".join(tree["problems"])
            yield Finding(
                "fail", subject, f"{tree['state']}: {what}", "the frontends keep what they have"
            )
        else:
            yield from (Finding("warn", subject, problem) for problem in tree["problems"])
    for row in status["frontends"]:
        if row["excess"]:
            why = "it serves files that the backend does not have"
            yield Finding("fail", f"frontend {row['host']}", row["excess"], why, frontend=True)
        elif row.get("state") == "degraded":
            what = f"{row['dirty']} paths are pending or refused: {row['last_error']}"
            why = "it serves other files than the backend holds"
            yield Finding("fail", f"frontend {row['host']}", what, why, frontend=True)


def _examine_answer(answer: discover_once.Answer) -> Iterator[Finding]:
    subject = f"discovery {answer.name}"
    grant = (
        "grant it to this backend's role: docs/iam-policy.json has one statement for each feature"
    )
    if answer.result is None:
        fix = grant if "IAM permission" in answer.error else ""
        yield Finding("fail", subject, answer.error, "this provider finds no frontends", fix)
        return
    for note in answer.result.notes:
        fix = grant if "IAM permission" in note else ""
        level = "warn" if answer.result.complete else "fail"
        yield Finding(level, subject, note, "a part of the answer is missing", fix)
    if answer.result.complete and answer.name != "static":
        yield Finding("ok", subject, f"{len(answer.result.candidates)} seen")


def _examine_identity(config: Config) -> Iterator[Finding]:
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


def _examine_ciphers(ciphers: Sequence[str]) -> Iterator[Finding]:
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


def _examine_user(directory: Path) -> Iterator[Finding]:
    """Warn if this process runs as another user than the daemon, which owns the state directory."""
    try:
        owner = directory.stat().st_uid
    except OSError:  # it does not exist yet, or this user may not read its parent
        return
    if owner != os.geteuid():
        yield Finding(
            "warn", "check", f"runs as {_name(os.geteuid())}, but the daemon runs as {_name(owner)}, who owns {directory}",
            "sources, keys and limits were tested with other permissions than the daemon has",
            f"{as_daemon(_name(owner))}  (as root; with --config as for this call)",
        )  # fmt: skip


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _examine_state(directory: Path) -> Iterator[Finding]:
    parent = next(p for p in (directory, *directory.parents) if p.exists())
    if directory.exists() and directory.stat().st_uid != os.geteuid():
        return  # `_examine_user` reports that
    if not os.access(parent, os.W_OK):
        yield Finding(
            "fail", "state.directory", f"{directory} cannot be written", "catalog, lock and control socket are kept there",
            f"install -d -m 700 -o {_name(os.geteuid())} {directory}",
        )  # fmt: skip
    elif directory.exists() and directory.stat().st_mode & 0o077:
        yield Finding(
            "warn", "state.directory", f"{directory} can be opened by others",
            "the catalog shows every path in the trees", f"chmod 700 {directory}",
        )  # fmt: skip
    else:
        yield Finding("ok", "state.directory", str(directory))


def _examine_tree(settings: TreeSettings) -> tuple[list[Finding], int]:
    subject = f"tree {settings.source}"
    try:
        source = SourceTree(
            os.fsencode(settings.source),
            filter=Filter(settings.exclude),
            multiplier=1,
            symlinks=settings.symlinks,
            trusted=app.trusted_users(f"{subject}, trust", settings),
        )
    except (SourceError, ConfigError) as error:
        return [Finding("fail", subject, str(error), "its files are not replicated")], 0
    files = directories = size = 0
    unlisted: list[Unlisted] = []
    for seen in source.walk(ROOT):
        if isinstance(seen, Unlisted):
            unlisted.append(seen)
        else:
            directories += seen.entry.kind == DIRECTORY
            files += seen.entry.kind != DIRECTORY
            size += seen.entry.size
    findings = [
        Finding(
            "ok",
            subject,
            f"{files} files, {directories} directories, {size / 1e6:.1f} MB -> {settings.target}",
        )
    ]
    findings += _examine_way(subject, source.exposed)
    findings += [
        Finding("warn", subject, f"the pattern {pattern!r} has no effect: {reason}", "paths that it should exclude are replicated, or the reverse")
        for pattern, reason in idle_patterns(settings)
    ]  # fmt: skip
    findings += _examine_excludes(subject, settings)
    findings += [
        Finding(
            "warn", f"{subject}/{printable(path)}", reason, "paths below it are neither sent nor deleted",
            f"setfacl -R -m u:{_name(os.geteuid())}:rX {settings.source}",
        )
        for path, reason in unlisted[:10]
    ]  # fmt: skip
    return findings, directories + 1


def _examine_excludes(subject: str, settings: TreeSettings) -> Iterator[Finding]:
    for pattern, directory in missing_directories(settings):
        shown = printable(os.fsencode(directory))
        yield Finding(
            "warn", subject, f"the pattern {pattern!r} excludes the directory {shown} itself: it is missing on frontends that do not create it",
            "a program that writes into it fails there",
            f'exclude its content: "/{shown}/*" instead of "{pattern}"',
        )  # fmt: skip
    if reason := misplaced_preset(settings):
        yield Finding(
            "warn", subject, f"preset {settings.preset} has no effect: {reason}",
            "files that each host writes by itself are replicated, or removed from the frontends",
            "set tree.source to that directory, or write the patterns into tree.exclude",
        )  # fmt: skip


def _examine_way(subject: str, exposed: str) -> Iterator[Finding]:
    if exposed:
        what, _, fix = exposed.rpartition(": ")
        yield Finding(
            "warn", subject, what,
            "no symlink is followed there, and another directory in the source's place is read only after `replicator resume`",
            f"{fix}  (or name that user in tree.trust)",
        )  # fmt: skip


def _examine_watches(directories: int) -> Iterator[Finding]:
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
