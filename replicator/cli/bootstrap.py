"""`replicator bootstrap HOST`: fill one frontend now."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from replicator.cli.common import (
    ask_daemon,
    config_option,
    request_for,
    run,
    size_text,
)
from replicator.cli.progress import show_bootstrap
from replicator.config import Config, load
from replicator.errors import ReplicatorError
from replicator.ports import Address


@click.command(short_help="Fill one frontend now.")
@click.argument("host")
@config_option
@click.pass_context
def bootstrap(context: click.Context, host: str, config: str) -> None:
    """Fill HOST now, through the running daemon (at the front of the queue), or in this process if no daemon runs.

    HOST need not be known to discovery. Exits 0 when HOST is up to date, 1 when it is not.
    """
    settings = load(config)
    request = {"command": "bootstrap", **request_for(host)}
    answer = ask_daemon(settings, request, timeout=None)
    row = show_bootstrap(answer if answer is not None else _alone(settings, request))
    progress = row["progress"]
    click.echo(
        f"{row['host']}: {progress['files_done']} files, {size_text(progress['bytes_done'])}"
        f" in {progress['seconds'] or 0:.2f} s; {row['dirty']} paths still pending"
    )
    for problem in row["problems"]:
        click.echo(f"{row['host']}: {problem['path']}: {problem['reason']}", err=True)
    others = [*row["unlisted"], *filter(None, [row["excess"]])]
    for other in others:
        click.echo(f"{row['host']}: {other}", err=True)
    context.exit(1 if row["problems"] or others else 0)


def _alone(config: Config, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Bootstrap in this process; run the event loop in a thread, and yield the same rows as the daemon."""
    import asyncio
    import queue
    import threading

    from replicator import app

    rows: queue.SimpleQueue[dict[str, Any] | BaseException | None] = queue.SimpleQueue()

    async def work() -> None:
        async with app.alone(config) as backend:
            address = app.named_in(
                config, Address(request["host"], request["user"], request["port"])
            )
            async for row in backend.requests.bootstrap(address):
                rows.put(row)

    def thread() -> None:
        try:
            run(work())
            rows.put(None)
        except (ReplicatorError, asyncio.CancelledError) as error:
            rows.put(error)
        except BaseException as error:
            rows.put(error)
            raise

    threading.Thread(target=thread, daemon=True).start()
    while (row := rows.get()) is not None:
        if isinstance(row, BaseException):
            raise row
        yield row
