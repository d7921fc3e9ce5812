"""`replicator agent`: the agent of a frontend, for pinned mode."""

from __future__ import annotations

import click

from replicator.agent import main


@click.command(
    short_help="Receive changes on standard input.",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def agent(context: click.Context, arguments: tuple[str, ...]) -> None:
    """Receive changes on standard input, as a forced command in authorized_keys."""
    context.exit(main.main(list(arguments)))
