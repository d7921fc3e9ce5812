"""`replicator verify`: compare the frontends with the backend by digest."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

import click

from replicator.cli.common import ask_daemon, config_option, request_for, run
from replicator.cli.progress import Meter
from replicator.config import Config, load
from replicator.ports import Address


@click.command(short_help="Compare the SHA-256 of all frontends' files.")
@click.argument("host", required=False)
@config_option
@click.option("--repair", is_flag=True, help="Send differing files again.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def verify(
    context: click.Context, host: str | None, config: str, *, repair: bool, as_json: bool
) -> None:
    """Read every file of every frontend (or of HOST) and compare its SHA-256 with the backend's.

    Paths that are refused, or have been dirty for more than 5 s, count as different. Exits 0 when all frontends are equal (or
    repaired), 1 when all differ or failed, 3 when some do, or when there is no frontend.
    """
    settings = load(config)
    request = {"command": "verify", "repair": repair, **(request_for(host) if host else {})}
    request["progress"] = sys.stderr.isatty()
    shown = _Shown(as_json=as_json)
    try:
        answer = ask_daemon(settings, request, timeout=None)
        if answer is None:
            run(_alone(settings, request, shown.take))
        for line in answer or ():
            shown.take(line)
    finally:
        shown.meter.clear()
    reports = shown.reports
    bad = sum(not _is_right(report) for report in reports)
    if as_json:
        click.echo(json.dumps({"ok": bool(reports) and not bad, "frontends": reports}, indent=2))
    if not reports:
        click.echo("nothing was compared: there are no frontends", err=True)
        context.exit(3)
    context.exit(0 if not bad else 1 if bad == len(reports) else 3)


class _Shown:
    """Shows the lines of the answer as they arrive; the reports are kept."""

    def __init__(self, *, as_json: bool) -> None:
        self.reports: list[dict[str, Any]] = []
        self.meter = Meter()
        self._as_json = as_json

    def take(self, line: dict[str, Any]) -> None:
        """Show one line."""
        if progress := line.get("progress"):
            where = f"{progress['host']}:{progress['port']}".removesuffix(":0")
            self.meter.show(where, progress["compared"], progress["total"], "paths compared")
            return
        self.meter.clear()
        self.reports.append(line)
        if not self._as_json:
            _show(line)


def _is_right(report: dict[str, Any]) -> bool:
    """Return True if the frontend is equal to the backend, or was repaired."""
    if report["error"] or report["pending"]:
        return False
    return report["repaired"] or not report["differing"]


def _show(report: dict[str, Any]) -> None:
    """Print one frontend's report."""
    host, pending = report["host"], report["pending"]
    if report["error"]:
        click.echo(report["error"], err=True)
    elif not report["differing"]:
        click.echo(f"{host}: equal")
    if pending:
        click.echo(
            f"{host}: {pending} paths are pending or refused; the daemon sends them without --repair"
        )
    if others := report["differing"] - pending:
        done = "sent again" if report["repaired"] else "differ; --repair sends them again"
        click.echo(f"{host}: {others} paths {done}")
    reasons = {one["path"]: f": {one['reason']}" for one in report["reasons"]}
    for path in report["paths"]:
        click.echo(f"  {path}{reasons.get(path, '')}")


async def _alone(
    config: Config, request: dict[str, Any], take: Callable[[dict[str, Any]], None]
) -> None:
    """Verify in this process when no daemon runs; change nothing unless asked to repair."""
    from replicator import app

    if "host" in request:
        address = Address(request["host"], request["user"], request["port"])
        addresses = [app.named_in(config, address)]
    else:
        addresses = app.frontends_of(config)
    async with app.alone(config, compare=False) as backend:
        replicas = [backend.service.add_frontend(address) for address in addresses]
        await asyncio.gather(*(replica.first_outcome() for replica in replicas))
        reports = []
        async for line in backend.requests.handle(request):
            if "progress" in line:
                take(line)
            else:
                reports.append(line)
        await backend.service.drain(None)
    for report in reports:  # what was repaired has been sent
        take(report)
