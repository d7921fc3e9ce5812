"""`replicator pause`: send nothing to one frontend, or nothing of one tree."""

from __future__ import annotations

import click

from replicator.cli.common import ask_daemon, config_option, no_daemon
from replicator.cli.naming import name_fields
from replicator.config import load, parse_duration


@click.command(short_help="Stop replication to one frontend or of one tree.")
@click.argument("name", metavar="HOST|TREE")
@click.option(
    "--for",
    "duration",
    metavar="DURATION",
    help="Unpause by itself after this time, such as 90s, 10m, 2h or 1d.",
)
@click.option(
    "--frontend", is_flag=True, help="HOST|TREE is a frontend, though a tree has that name."
)
@config_option
def pause(name: str, duration: str | None, config: str, *, frontend: bool) -> None:
    """Stop replication to HOST, or of TREE to all frontends, until `replicator unpause`.

    HOST is a frontend's host or instance id; TREE is a source directory, or the last component of its path. What is
    queued on a connection is still sent; later changes are kept, and sent after the pause. `status` shows the pause, and exits
    with 3. A pause survives a restart of the daemon. Pausing again only changes when the pause ends.
    """
    settings = load(config)
    seconds = parse_duration("--for", duration) if duration is not None else None
    request = {
        "command": "pause",
        "seconds": seconds,
        **name_fields(settings, name, frontend=frontend),
    }
    rows = ask_daemon(settings, request)
    if rows is None:
        raise no_daemon(settings)
    for row in rows:
        again = " (it was paused before)" if row["before"] else ""
        until = (
            f" for {duration}" if duration is not None else f" until `replicator unpause {name}`"
        )
        click.echo(f"paused: {row['what']}{until}{again}")
