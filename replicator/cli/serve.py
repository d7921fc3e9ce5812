"""`replicator serve`: the daemon."""

from __future__ import annotations

import gc
import os

import click

from replicator.cli.common import config_option, load_config, run

COLLECT = (2_000, 5, 2_000)
"""Thresholds of the garbage collector. Filling ten frontends makes a hundred thousand small objects, of which few are garbage:
with Python's own (700, 10, 10) full collections stopped the loop for up to 190 ms, and took a sixth of the CPU time. So they are as rare
as can be; the middle generation is 10,000 objects, 10 ms. (With 200,000 a bulk change of the source stopped the loop for 0.3 s.)"""


@click.command()
@config_option
def serve(config: str) -> None:
    """Replicate until SIGTERM (drains, at most 10 s, and exits 0); SIGHUP reloads the configuration."""
    # NumPy's linear algebra, which nobody here uses, would start threads that spin.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from replicator import app, early

    settings = load_config(config, daemon=True)
    gc.freeze()
    gc.set_threshold(*COLLECT)
    try:
        run(app.serve(settings, lambda: load_config(config, daemon=True)), daemon=True)
    finally:
        early.ignore_signals()
