"""`replicator check`: diagnose the set-up."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import click

from replicator.cli.common import ask_daemon, config_option, run
from replicator.cli.progress import Meter
from replicator.config import load

if TYPE_CHECKING:
    from replicator.doctor.finding import Finding

_MARKS = {"ok": click.style("ok   ", fg="green"), "warn": click.style("warn ", fg="yellow")}
_FAIL = click.style("FAIL ", fg="red")


@click.command(short_help="Check the configuration and every frontend.")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def check(context: click.Context, config: str, *, as_json: bool) -> None:
    """Check config, sources, inotify limits, state directory, object store, and SSH, agent and targets of every frontend.

    Also asks a running daemon for problems. Creates missing target directories, and writes a small file into each target and
    into the store and removes it; changes nothing else. Prints for each finding what is wrong, why it matters, and how to fix it. Exits 0 when
    nothing failed, 1 when the backend cannot work, 3 when only some frontends fail.
    """
    from replicator.doctor import check, daemon_findings

    settings = load(config)
    meter = Meter()
    try:
        findings = run(
            check(settings, lambda done, total: meter.show("check", done, total, "frontends"))
        )
    finally:
        meter.clear()
    status = next(iter(ask_daemon(settings, {"command": "status"}) or ()), None)
    if status is not None:
        findings += daemon_findings(status)
    failed = [finding for finding in findings if finding.level == "fail"]
    if as_json:
        rows = [dataclasses.asdict(finding) for finding in findings]
        click.echo(json.dumps({"ok": not failed, "findings": rows}, indent=2))
    else:
        for finding in findings:
            _print(finding)
    if not failed:
        context.exit(0)
    context.exit(3 if all(finding.frontend for finding in failed) else 1)


def _print(finding: Finding) -> None:
    click.echo(f"{_MARKS.get(finding.level, _FAIL)} {finding.subject}: {finding.what}")
    if finding.why:
        click.echo(f"      why it matters: {finding.why}")
    if finding.fix:
        click.echo(f"      to fix it:      {finding.fix}")
