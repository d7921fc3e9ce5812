"""`replicator status`: print the state of the daemon, its trees and its frontends."""

from __future__ import annotations

import json
import time
from typing import Any

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from replicator.cli.common import ask_daemon, config_option, load_config, no_daemon, size_text
from replicator.config import Config


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
@click.pass_context
def status(
    context: click.Context,
    config: str,
    *,
    as_json: bool,
    watch: bool,
    max_lag: float | None,
    max_dirty: int | None,
) -> None:
    """Show every frontend's state, dirty count, lag, queue position, progress and last error.

    Exits 0 when every frontend is known to hold what the source holds, 3 when anything is refused, pending, unreadable, unknown,
    held or not connected, 1 when no daemon runs. --max-lag and --max-dirty tolerate some pending paths.
    """
    settings = load_config(config)
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


def _console() -> Console:
    """Return a console without markup: a file name such as `[/red]` is invalid markup, for which rich raises an error."""
    return Console(markup=False, emoji=False)


def _ask(config: Config, request: dict[str, Any]) -> dict[str, Any]:
    lines = ask_daemon(config, request)
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
    outer.add_row(trees)
    outer.add_row(frontends)
    if discovery.row_count:
        outer.add_row(discovery)
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
