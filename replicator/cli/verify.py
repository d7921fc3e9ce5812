"""`replicator verify`: compare digests of everything."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from replicator.cli.common import ask_daemon, config_option, load_config, request_for, run
from replicator.config import Config
from replicator.ports import Address


@click.command()
@click.argument("host", required=False)
@config_option
@click.option("--repair", is_flag=True, help="Send again what differs.")
@click.pass_context
def verify(context: click.Context, host: str | None, config: str, *, repair: bool) -> None:
    """Read every file of every frontend (or of HOST) and compare its SHA-256 with the backend's.

    Exits 0 when all are equal (or repaired), 1 when all differ or failed, 3 when some do.
    """
    settings = load_config(config)
    request = {"command": "verify", "repair": repair, **(request_for(host) if host else {})}
    answer = ask_daemon(settings, request, patience=None)
    reports = answer if answer is not None else run(_alone(settings, request))
    bad = total = 0
    for report in reports:
        total += 1
        bad += _show(report)
    if not total:
        click.echo("there are no frontends")
    context.exit(0 if not bad else 1 if bad == total else 3)


def _show(report: dict[str, Any]) -> bool:
    """Print one frontend's report; return True if it is not as it should be."""
    host = report["host"]
    if report["error"]:
        click.echo(report["error"], err=True)
        return True
    if not report["differing"]:
        click.echo(f"{host}: equal")
        return False
    done = "sent again" if report["repaired"] else "differ; --repair sends them again"
    click.echo(f"{host}: {report['differing']} paths {done}")
    for path in report["paths"]:
        click.echo(f"  {path}")
    return not report["repaired"]


async def _alone(config: Config, request: dict[str, Any]) -> list[dict[str, Any]]:
    """Verify without a daemon: connect, look, and change nothing unless asked to repair."""
    from replicator import app

    if "host" in request:
        address = Address(request["host"], request["user"], request["port"])
        addresses = [app.named_in(config, address)]
    else:
        addresses = app.frontends_of(config)
    async with app.alone(config, compare=False) as backend:
        replicas = [backend.service.add_frontend(address) for address in addresses]
        await asyncio.gather(*(replica.first_outcome() for replica in replicas))
        reports = [report async for report in backend.requests.handle(request)]
        await backend.service.drain(None)
        return reports
