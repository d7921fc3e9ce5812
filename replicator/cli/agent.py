"""`replicator agent`: the receiving end, for pinned mode."""

from __future__ import annotations

import click

from replicator.agent import main


@click.command()
@click.option(
    "--root", required=True, type=click.Path(), help="Nothing outside this directory is touched."
)
@click.pass_context
def agent(context: click.Context, root: str) -> None:
    """Receive files on standard input, as a forced command in authorized_keys.

    For example: restrict,command="/opt/replicator/bin/replicator agent --root /var/www" ssh-ed25519 AAAA... backend

    A target that lies inside the root is used as it is; any other is taken relative to the root, as in a chroot.
    """
    context.exit(main.main(["--root", root]))
