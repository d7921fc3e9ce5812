"""Diagnose a backend for `replicator check`: each finding says what was found, why it matters, and how to fix it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from replicator import app, discover_once
from replicator.config import Config
from replicator.discovery.aws.client import Aws
from replicator.doctor.base import base_findings
from replicator.doctor.cloud import cloud_findings, own_targets
from replicator.doctor.finding import Finding
from replicator.doctor.frontends import examine_frontend
from replicator.doctor.host import (
    cipher_findings,
    identity_findings,
    state_findings,
    user_findings,
    watch_findings,
)
from replicator.doctor.trees import tree_findings
from replicator.ports import Candidate
from replicator.transport.ssh import SSHConnector

PARALLEL = 10
"""Number of frontends that are tested at the same time."""


async def check(
    config: Config, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> list[Finding]:
    """Return all findings, in the order in which an operator would fix them.

    Creates missing target directories, and writes a small file into each target and removes it; the same in the object
    store of the base. Changes nothing else.

    Args:
        config: the settings.
        progress: called with the number of frontends that were tested, and of all, after each.
    """
    findings = list(user_findings(Path(config.state.directory)))
    findings += identity_findings(config)
    findings += cipher_findings(config.ssh.ciphers)
    findings += state_findings(Path(config.state.directory))
    directories = 0
    for tree in config.tree:
        found, count = await asyncio.to_thread(tree_findings, tree)
        findings += found
        directories += count
    findings += watch_findings(directories)
    findings += await asyncio.to_thread(lambda: list(base_findings(config)))
    aws = Aws(region=config.discovery.region, endpoint_url=config.discovery.endpoint_url)
    connector = SSHConnector(config.ssh, app.host_key_policy(config, aws))
    places = asyncio.Semaphore(PARALLEL)

    tested = 0

    async def one(candidate: Candidate) -> list[Finding]:
        nonlocal tested
        async with places:
            found = await examine_frontend(connector, candidate, config)
        tested += 1
        progress(tested, len(candidates))
        return found

    answers = await discover_once.ask_all(config)
    findings += [finding for answer in answers for finding in _examine_answer(answer)]
    findings += await cloud_findings(config, aws)
    candidates = discover_once.frontends_in(answers)
    findings += own_targets(candidates)
    if not candidates:
        findings.append(
            Finding("warn", "discovery", "there are no frontends", "no file is replicated")
        )
    progress(0, len(candidates))
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
    if (base := status.get("base")) and base["error"]:
        why = "new frontends get an older copy from it, or are filled over SSH"
        yield Finding("warn", "daemon, base", base["error"], why)
    if base and base["prune_error"]:
        yield Finding(
            "warn", "daemon, base", base["prune_error"], "garbage in the store costs money"
        )
    for row in status["frontends"]:
        if row["excess"]:
            why = "it serves files that the backend does not have"
            yield Finding("fail", f"frontend {row['host']}", row["excess"], why, frontend=True)
        elif row.get("state") == "paused":
            why = "it keeps what it has, and gets nothing new"
            yield Finding("fail", f"frontend {row['host']}", row["last_error"], why, frontend=True)
        elif row.get("state") == "degraded":
            what = row["last_error"]
            if row["dirty"]:
                what = f"{row['dirty']} paths are pending or refused: {what}"
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
