"""`replicator resume`: the operator confirms held deletions and doubtful sources."""

from __future__ import annotations

import click

from replicator.cli.common import ask_daemon, config_option, no_daemon
from replicator.config import load


@click.command(short_help="Confirm held deletions or a changed source.")
@config_option
def resume(config: str) -> None:
    """Confirm what is held: mass deletions, and a source or target that looks empty or replaced.

    Sends the deletions that are held because they are too many, and removes the extra files of frontends that were kept for that reason.
    `replicator status` shows what is held, and why. A tree whose source is missing stays halted until the source is back.
    """
    settings = load(config)
    rows = ask_daemon(settings, {"command": "resume"})
    if rows is None:
        raise no_daemon(settings)
    resumed = list(rows)
    for row in resumed:
        click.echo(f"resumed: {row['what']}: {row['reason']}")
    if not resumed:
        click.echo("nothing is held")
