"""`replicator serve`: the daemon."""

from __future__ import annotations

import click

from replicator.cli.common import config_option, load_config, run


@click.command()
@config_option
def serve(config: str) -> None:
    """Replicate until SIGTERM (drains, at most 10 s, and exits 0); SIGHUP reloads the configuration."""
    from replicator import app

    settings = load_config(config, daemon=True)
    run(app.serve(settings, lambda: load_config(config, daemon=True)))
