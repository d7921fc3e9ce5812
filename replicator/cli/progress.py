"""Progress of a long operation: a progress bar on a terminal, otherwise a plain line every few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import Any

import click

from replicator.cli.common import size_text

PLAIN_EVERY = 5.0
"""Seconds between two plain lines, which usually go to a log file or a mail of cron."""


def show_bootstrap(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Show the progress of a bootstrap from its rows; return the last row, which is the result."""
    return _show_bar(rows) if sys.stderr.isatty() else _show_lines(rows)


def _show_bar(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[files]}"),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    row: dict[str, Any] = {}
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None, files="")
        for row in rows:  # the last one is the result
            progress = row["progress"]
            bar.update(
                task,
                description=f"{row['host']} {_state(row)}",
                total=progress["bytes_total"] or None,
                completed=progress["bytes_done"],
                files=f"{progress['files_done']}/{progress['files_total']} files",
            )
    return row


def _show_lines(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    due = time.monotonic() + PLAIN_EVERY
    for row in rows:
        if time.monotonic() >= due:
            due += PLAIN_EVERY
            click.echo(bootstrap_line(row), err=True)
    return row


def bootstrap_line(row: dict[str, Any]) -> str:
    """Format the progress of a bootstrap as one plain line."""
    progress = row["progress"]
    eta = f", {progress['eta_seconds']:.0f} s to go" if progress["eta_seconds"] is not None else ""
    return (
        f"{row['host']}: {_state(row)}, {progress['files_done']} of {progress['files_total']} files,"
        f" {size_text(progress['bytes_done'])} of {size_text(progress['bytes_total'])},"
        f" {size_text(progress['bytes_per_second'])}/s{eta}"
    )


def _state(row: dict[str, Any]) -> str:
    position = row["queue_position"]
    return f"{row['state']} (number {position} in the queue)" if position else str(row["state"])
