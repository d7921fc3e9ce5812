"""`replicator wait`: wait until what was changed is on the frontends."""

from __future__ import annotations

import os
from typing import Any

import click

from replicator.cli.common import ask_daemon, config_option, no_daemon, request_for
from replicator.config import Config, load
from replicator.errors import ControlError

TIMEOUT = 60.0
"""Default time limit in seconds: a deploy script must end also if a frontend's disk is full."""


SILENCE = 10.0
"""Seconds without a line from the daemon after which it counts as hung; it sends one every second."""


@click.command(short_help="Wait until earlier changes are confirmed.")
@click.argument("path", nargs=-1, type=click.Path())
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=TIMEOUT,
    show_default=True,
    metavar="SECONDS",
    help="Give up after this time.",
)
@click.option("--frontend", metavar="HOST", help="Wait for this frontend only, serving or not.")
@config_option
@click.pass_context
def wait(
    context: click.Context,
    path: tuple[str, ...],
    config: str,
    *,
    timeout: float,
    frontend: str | None,
) -> None:
    """Wait until all changes made before this call are confirmed by every serving frontend.

    With PATH, only changes at and below PATH, a path on the backend. Later changes are not waited for. Exit status: 0
    confirmed; 3 not confirmed (prints which frontend lacks which path, or why it gets nothing); 1 no daemon runs.
    """
    settings = load(config)
    areas = [area_of(settings, one) for one in path]
    host = request_for(frontend) if frontend else {}
    request = {"command": "wait", "areas": areas, "timeout": timeout, **host}
    rows = ask_daemon(settings, request, timeout=SILENCE)
    if rows is None:
        raise no_daemon(settings)
    outcome = next((row for row in rows if row.get("finished")), None)
    if outcome is None:
        raise ControlError("the daemon answered without an outcome")
    _show(outcome)
    context.exit(0 if outcome["ok"] else 3)


def area_of(config: Config, path: str) -> tuple[str, str]:
    """Return (source, relative path).

    Resolve symlinks in the parent directories; resolve the path itself only if its own name is in no source.

    Raises:
        ControlError: if it is in no source.
    """
    sources = sorted((tree.source for tree in config.tree), key=len, reverse=True)
    for place in (_place(path), os.path.realpath(path)):
        for source in sources:
            root = os.path.realpath(source)
            if place == root:
                return source, ""
            if place.startswith(root.rstrip("/") + "/"):
                return source, os.path.relpath(place, root)
    raise ControlError(f"{path}: it is in none of the replicated directories")


def _place(path: str) -> str:
    above, name = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(above), name)


def _show(outcome: dict[str, Any]) -> None:
    for host in outcome["left"]:
        click.echo(f"{host}: left the fleet; no longer waiting for it", err=True)
    for host in outcome["not_serving"]:
        click.echo(f"{host}: it is being filled; not waiting for it", err=True)
    for blocker in outcome["waits_for"]:
        click.echo(f"{blocker['who']}: {blocker['why']}", err=True)
    hosts = outcome["frontends"]
    if outcome["ok"]:
        names = f": {', '.join(hosts)}" if hosts else ""
        click.echo(f"confirmed by {len(hosts)} frontends in {outcome['seconds']:.3f} s{names}")
    else:
        click.echo(f"not confirmed after {outcome['seconds']:.1f} s", err=True)
