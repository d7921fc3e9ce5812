"""`replicator status`: print the state of the daemon, its trees and its frontends."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from replicator.cli.common import ask_daemon, config_option, load_config, no_daemon, size_text
from replicator.config import Config
from replicator.errors import ControlError, ReplicatorError

WITHIN = 5.0
"""Seconds after which a daemon that does not answer is reported."""


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--watch", is_flag=True, help="Show it again every second, until interrupted.")
@click.option(
    "--max-lag",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Accept changes that are pending for at most this long.",
)
@click.option(
    "--max-dirty", type=click.IntRange(min=0), metavar="N", help="Accept this many pending paths."
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

    Exits 0 when every frontend is known to hold what the source holds, 3 when anything is refused, pending, unreadable, unknown,
    held or not connected, 1 when no daemon runs or it does not answer within 5 s. --max-lag and --max-dirty tolerate some pending
    paths. --textfile exits 0 when the file was written.
    """
    settings = load_config(config)
    if textfile is not None:
        _write_metrics(settings, textfile)
        return
    request = {"command": "status", "max_lag": max_lag, "max_dirty": max_dirty}
    answer = _ask(settings, request)
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    elif watch:
        with Live(_tables(answer), console=_console(), refresh_per_second=4) as live:
            while True:
                time.sleep(1)
                live.update(_tables(_ask(settings, request)))
    else:
        _console().print(_tables(answer))
    context.exit(0 if answer["ok"] else 3)


def _write_metrics(config: Config, file: str) -> None:
    """Replace a file of metrics at once; if the daemon does not answer, by one that says so.

    Raises:
        ReplicatorError: if prometheus-client is not installed, the file cannot be written, or the daemon does not answer.
    """
    try:
        from replicator.http import metrics
    except ModuleNotFoundError as error:
        raise ReplicatorError(
            f"--textfile needs prometheus-client, which is not installed: install replicator with its extra `http`,"
            f" or run `{sys.executable} -m pip install prometheus-client`"
        ) from error
    try:
        text = metrics.render(_ask(config, {"command": "status"}))
    except ControlError:
        _replace(Path(file), metrics.render_down())
        raise
    _replace(Path(file), text)


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


def _ask(config: Config, request: dict[str, Any]) -> dict[str, Any]:
    lines = ask_daemon(config, request, timeout=WITHIN)
    answer = next(lines, None) if lines is not None else None
    if answer is None:
        raise no_daemon(config)
    return answer


def _tables(answer: dict[str, Any]) -> Table:
    outer = Table.grid(padding=(1, 0))
    trees = Table("tree", "state", "entries", "size", "pending", "problems")
    for row in answer["trees"]:
        problems = "\n".join([*row["problems"], *(f"unreadable: {p}" for p in row["unreadable"])])
        trees.add_row(
            row["source"],
            row["state"],
            str(row["entries"]),
            size_text(row["bytes"]),
            str(row["pending"]),
            problems,
        )
    discovery = Table("discovery", "members", "said")
    frontends = Table(
        "frontend",
        "state",
        "dirty",
        "lag",
        "queue",
        "files sent",
        "bytes sent",
        "progress",
        "notes",
    )
    for row in answer["frontends"]:
        progress = row["progress"]
        frontends.add_row(
            f"{row['host']}:{row['port']}" if row["port"] else row["host"],
            row["state"],
            _known(row["dirty"]),
            _known(row["lag_seconds"], ".1f", " s"),
            str(row["queue_position"] or ""),
            str(row["files_sent"]),
            size_text(row["bytes_sent"]),
            _progress_text(progress),
            _notes_text(row),
        )
    for row in answer["discovery"]:
        said = "\n".join(filter(None, [row["error"], row["doubt"], *row["notes"]]))
        if said:
            discovery.add_row(row["provider"], str(row["members"]), said)
    hooks = Table("hook", "event", "runs", "failed", "waiting", "last error")
    for row in answer.get("hooks", ()):
        numbers = map(str, (row["runs"], row["failures"], row["waiting"]))
        hooks.add_row(row["command"][0], row["event"], *numbers, row["last_error"])
    outer.add_row(trees)
    outer.add_row(frontends)
    if discovery.row_count:
        outer.add_row(discovery)
    if hooks.row_count:
        outer.add_row(hooks)
    return outer


def _known(number: float | None, form: str = "", unit: str = "") -> str:
    return "?" if number is None else f"{number:{form}}{unit}"


def _progress_text(progress: dict[str, Any]) -> str:
    text = f"{progress['files_done']}/{progress['files_total']} files"
    if progress["eta_seconds"] is None:
        return text
    done, total = size_text(progress["bytes_done"]), size_text(progress["bytes_total"])
    rate = size_text(progress["bytes_per_second"])
    return f"{text}, {done} of {total}\n{rate}/s, {progress['eta_seconds']:.0f} s to go"


def _notes_text(row: dict[str, Any]) -> str:
    said = [f"{row['source']} {row['instance_id']} {row['discovery_state']}".strip()]
    said += ["not ready"] if row["ready"] is False else []
    return "\n".join([*said, *filter(None, [row["launch"], row["last_error"]])])
