"""`replicator demo`: a backend and frontends on this machine."""

from __future__ import annotations

import click


@click.command(short_help="Replicate to embedded frontends on this host.")
@click.option(
    "--files",
    default=2000,
    show_default=True,
    help="Number of files that the uploads directory holds at first.",
)
@click.pass_context
def demo(context: click.Context, files: int) -> None:
    """Fill three embedded frontends, change files, let three more join, and compare all by digest.

    Needs no root, no sshd and no AWS. Exits 0 only if all trees are equal at the end.
    """
    from rich.console import Console

    from replicator.demo.story import tell

    context.exit(tell(files, Console()))
