"""`replicator status`: print the state of the daemon, its trees and its frontends."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from replicator.cli.common import ask_daemon, config_option, no_daemon
from replicator.cli.status_view import latest_events, view
from replicator.config import Config, load
from replicator.errors import ControlError, ReplicatorError

DOWN = b"""\
# HELP replicator_up 1 if the daemon answers.
# TYPE replicator_up gauge
replicator_up 0.0
"""
"""Metrics of a daemon that does not answer."""

WITHIN = 5.0
"""Seconds after which a daemon that does not answer is reported."""


@click.command(short_help="Show the state of every frontend.")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--watch", is_flag=True, help="Show it again every second, until interrupted.")
@click.option(
    "--max-lag",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Accept paths that have been dirty for at most this long.",
)
@click.option(
    "--max-dirty", type=click.IntRange(min=0), metavar="N", help="Accept this many dirty paths."
)
@click.option(
    "--textfile",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write metrics to FILE, for the textfile collector of node_exporter; print nothing.",
)
@click.pass_context
def status(  # options
    context: click.Context,
    config: str,
    *,
    as_json: bool,
    watch: bool,
    max_lag: float | None,
    max_dirty: int | None,
    textfile: str | None,
) -> None:
    """Show every frontend's state, dirty count, lag, queue position, progress and last error.

    Exits 0 when every frontend is known to hold what the source holds, 3 when anything is refused, dirty, unreadable, unknown,
    held or not connected, 1 when no daemon runs or it does not answer within 5 s. --max-lag and --max-dirty tolerate some dirty
    paths. --textfile exits 0 when the file was written.
    """
    if textfile is not None:
        _write_metrics(config, Path(textfile))
        return
    settings = load(config)
    request = {"command": "status", "max_lag": max_lag, "max_dirty": max_dirty}
    answer = _ask(settings, request)
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    elif watch:
        _watch(settings, request, answer)
    else:
        console = _console()
        for line in view(answer, width=console.width if console.is_terminal else None):
            console.print(line, soft_wrap=not console.is_terminal)
    context.exit(0 if answer["ok"] else 3)


def _write_metrics(config: str, file: Path) -> None:
    """Replace a file of metrics at once; whatever fails, by one that says so: old values would look like those of a daemon that works.

    Raises:
        ReplicatorError: if prometheus-client is not installed, the file cannot be written, the configuration cannot be read, or the
            daemon does not answer.
    """
    try:
        text = _metrics(config)
    except Exception:
        _replace(file, DOWN)
        raise
    _replace(file, text)


def _metrics(config: str) -> bytes:
    try:
        from replicator.http import metrics
    except ModuleNotFoundError as error:
        raise ReplicatorError(
            f"--textfile needs prometheus-client, which is not installed: install replicator with its extra `http`,"
            f" or run `{sys.executable} -m pip install prometheus-client`"
        ) from error
    return metrics.render(_ask(load(config), {"command": "status"}))


def _replace(file: Path, content: bytes) -> None:
    """Replace a file atomically; others may read it. node_exporter ignores the temporary name, which does not end in `.prom`."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        try:
            temporary.write_bytes(content)
            temporary.chmod(0o644)
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ReplicatorError(f"{file} cannot be written: {error.strerror}") from error


def _console() -> Console:
    """Return a console without markup: a file name such as `[/red]` is invalid markup, for which rich raises an error."""
    return Console(markup=False, emoji=False)


def _watch(config: Config, request: dict[str, Any], answer: dict[str, Any]) -> None:
    """Show the status and the latest events every second, until interrupted. While the daemon is away, the last status says so."""
    console, before, failure = _console(), None, ""
    with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:
        while True:
            lines = view(answer, width=console.width, before=before)
            lines += [Text(failure, "red")] if failure else [Text(), *latest_events(answer)]
            live.update(Group(*lines), refresh=True)
            time.sleep(1)
            try:
                before, answer, failure = answer, _ask(config, request), ""
            except ControlError as error:
                failure = f"this is old: {error}"


def _ask(config: Config, request: dict[str, Any]) -> dict[str, Any]:
    lines = ask_daemon(config, request, timeout=WITHIN)
    answer = next(lines, None) if lines is not None else None
    if answer is None:
        raise no_daemon(config)
    return answer
