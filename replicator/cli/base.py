"""`replicator base`: publish the base in an object store now, show it, and remove what is not needed any more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

import click

from replicator.cli.common import ask_daemon, config_option, no_daemon, size_text
from replicator.config import load
from replicator.errors import ControlError


@click.group(short_help="Manage the copy in an object store.")
def base() -> None:
    """Manage the base: the copy of the trees in an object store (base.url), from which new frontends restore."""


@base.command()
@click.option("--take-over", is_flag=True, help="Publish below this prefix although another backend does.")  # fmt: skip
@config_option
@click.pass_context
def publish(context: click.Context, config: str, *, take_over: bool) -> None:
    """Publish all trees now, instead of at the next interval.

    Exit status: 0 every tree that can have a base is published as it is now; 3 one is not, because its source is not scanned yet, or
    in doubt, or files that were changing are left out.
    """
    waits = False
    for row in _ask(config, {"command": "base-publish", "take_over": take_over}):
        click.echo(f"{row['source']}: {_published(row)}")
        if row.get("left_out"):
            click.echo(f"  {row['left_out']} files were changing, and are left out")
        waits |= "waits" in row or bool(row.get("left_out"))
    context.exit(3 if waits else 0)


@base.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@config_option
@click.pass_context
def status(context: click.Context, config: str, *, as_json: bool) -> None:
    """Show what is published, how old it is, and what it has cost since the daemon was started.

    Exit status: 0 every tree that can have a base has one; 3 one has not, or the last publication or removal of garbage has failed.
    """
    answer = next(_ask(config, {"command": "base-status"}))
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    else:
        for line in describe(answer):
            click.echo(line)
    wanted = [row for row in answer["trees"] if not row["skipped"]]
    missing = not answer["trees"] or any(row["manifest"] is None for row in wanted)
    context.exit(3 if answer["error"] or answer["prune_error"] or missing else 0)


@base.command()
@config_option
@click.pass_context
def prune(context: click.Context, config: str) -> None:
    """Remove now what no restore can ask for any more, instead of at the next hour.

    Also removes what the store holds of trees that are not configured any more. Exits 3 if it is too early to know what is unused.
    """
    (row,) = _ask(config, {"command": "base-prune"})
    if row["skipped"]:
        click.echo(f"nothing was examined: {row['skipped']}", err=True)
        context.exit(3)
    click.echo(f"removed {row['objects']} objects, {size_text(row['bytes'])}")


def describe(answer: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of `replicator base status`."""
    for row in answer["trees"]:
        if row["skipped"]:
            yield f"{row['source']}: not published: {row['skipped']}"
            continue
        if row["manifest"] is None:
            yield f"{row['source']}: not published yet"
            continue
        yield (
            f"{row['source']}: {_contents(row)}, published {row['age_seconds']:.0f} s ago, {_current(row, answer)},"
            f" {row['dead_share']:.0%} of its packs unused; manifest {row['manifest'][:16]}"
        )
        if row["left_out"]:
            yield f"  {row['left_out']} files were changing, and are left out"
    yield f"in the store: {answer['packs']} packs, {size_text(answer['bytes'])}"
    yield f"since the start: {answer['requests']} requests, {size_text(answer['bytes_sent'])} sent"
    if answer["error"]:
        yield f"not published: {answer['error']} ({answer['failures']} failures in a row)"
    if answer["prune_error"]:
        yield f"garbage not removed: {answer['prune_error']}"


def _current(row: dict[str, Any], answer: dict[str, Any]) -> str:
    """Return since when a tree's base may lack changes, as a clause."""
    if row["current_at"] is None:
        return "not compared with the tree since the start"
    return f"up to date {answer['time'] - row['current_at']:.0f} s ago"


def _contents(row: dict[str, Any]) -> str:
    return f"{row['entries']} entries, {size_text(row['bytes'])} in {row['packs']} packs"


def _published(row: dict[str, Any]) -> str:
    if why := row.get("waits") or row.get("skipped"):
        return f"not published: {why}"
    if not row["changed"]:
        return f"unchanged: {_contents(row)}"
    cost = f"{row['requests']} requests, {size_text(row['bytes_sent'])} sent, {row['cpu_seconds']:.2f} s of CPU time"
    return f"published: {_contents(row)} in {row['seconds']:.1f} s: {cost}"


def _ask(config: str, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the daemon's answer.

    Raises:
        ControlError: if no daemon runs, it refuses, or it ends before it has answered.
    """
    settings = load(config)
    if not settings.base.url:
        raise ControlError("no base is configured: set base.url")
    rows = ask_daemon(settings, request, timeout=None)
    if rows is None:
        raise no_daemon(settings)
    first = next(rows, None)
    if first is None:
        raise ControlError("the daemon ended before it answered; ask again")
    return chain([first], rows)
