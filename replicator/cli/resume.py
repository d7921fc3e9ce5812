"""`replicator resume`: the operator confirms held deletions and doubtful sources."""

from __future__ import annotations

import click

from replicator.cli.common import ask_daemon, config_option, no_daemon
from replicator.cli.naming import name_fields
from replicator.config import load


@click.command(short_help="Confirm held deletions or a changed source.")
@click.argument("name", metavar="[TREE|HOST]", required=False)
@click.option(
    "--frontend", is_flag=True, help="TREE|HOST is a frontend, though a tree has that name."
)
@config_option
def resume(name: str | None, config: str, *, frontend: bool) -> None:
    """Confirm what is held: mass deletions, and a source or target that looks empty or replaced.

    Sends the deletions that are held because they are too many, and removes the extra files of frontends that were kept for that reason.
    `replicator status` shows what is held, and why. A tree whose source is missing stays halted until the source is back.
    With TREE, confirms only what concerns that tree; with HOST, only the extra files and the targets of that frontend.
    """
    settings = load(config)
    fields = name_fields(settings, name, frontend=frontend) if name is not None else {}
    rows = ask_daemon(settings, {"command": "resume", **fields})
    if rows is None:
        raise no_daemon(settings)
    resumed = list(rows)
    for row in resumed:
        click.echo(f"resumed: {row['what']}: {row['reason']}")
    if not resumed:
        click.echo("nothing is held" if name is None else f"nothing of {name} is held")
