"""`replicator resume`: a person confirms what the daemon did not dare."""

from __future__ import annotations

import click

from replicator.cli.common import ask_daemon, config_option, load_config, no_daemon


@click.command()
@config_option
def resume(config: str) -> None:
    """Send the deletions that wait because there are too many, and believe a source that looks empty or replaced.

    `replicator status` says what waits, and why. A source that is not there at all stays halted until it is back.
    """
    settings = load_config(config)
    rows = ask_daemon(settings, {"command": "resume"})
    if rows is None:
        raise no_daemon(settings)
    resumed = list(rows)
    for row in resumed:
        click.echo(f"resumed: {row['what']}: {row['reason']}")
    if not resumed:
        click.echo("nothing waits")
