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


class Meter:
    """A bar on the terminal: how much of a count is done. Shows nothing if standard error is no terminal.

    Call `clear` before anything else is printed; the next `show` begins another bar.
    """

    def __init__(self) -> None:
        self._bar: Any = None

    def show(self, what: str, done: int, total: int, unit: str) -> None:
        """Show `what`, and `done` of `total` (0: unknown)."""
        if not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        if self._bar is None:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.fields[count]}"),
            )
            self._bar = Progress(
                *columns,
                console=Console(stderr=True),
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._bar.add_task(what, total=None, count="")
            self._bar.start()
        count = f"{done} of {total} {unit}" if total else f"{done} {unit}"
        (task,) = self._bar.task_ids
        self._bar.update(
            task,
            description=what,
            total=total or None,
            completed=min(done, total),
            count=count,
            refresh=True,
        )

    def clear(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


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
