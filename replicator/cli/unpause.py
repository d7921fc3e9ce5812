"""`replicator unpause`: replicate to a paused frontend, or a paused tree, again."""

from __future__ import annotations

import click

from replicator.cli.common import ask_daemon, config_option, no_daemon
from replicator.cli.naming import name_fields
from replicator.config import load


@click.command(short_help="Continue after `replicator pause`.")
@click.argument("name", metavar="HOST|TREE")
@click.option(
    "--frontend", is_flag=True, help="HOST|TREE is a frontend, though a tree has that name."
)
@config_option
def unpause(name: str, config: str, *, frontend: bool) -> None:
    """Continue replication to HOST, or of TREE, and send what has changed meanwhile.

    The names are those of `replicator pause`.
    """
    settings = load(config)
    request = {"command": "unpause", **name_fields(settings, name, frontend=frontend)}
    rows = ask_daemon(settings, request)
    if rows is None:
        raise no_daemon(settings)
    for row in rows:
        click.echo(f"{'unpaused' if row['before'] else 'not paused'}: {row['what']}")
