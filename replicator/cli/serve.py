"""`replicator serve`: the daemon."""

from __future__ import annotations

import gc
import os
from functools import partial

import click

from replicator.cli.common import config_option, run
from replicator.config import load

COLLECT = (2_000, 5, 2_000)
"""Thresholds of the garbage collector (gc.set_threshold), measured while ten frontends are filled.

Filling makes a hundred thousand small objects, few of them garbage. With Python's default (700, 10, 10) full collections
stopped the event loop for up to 190 ms, and took a sixth of the CPU time; with these values they are rare. A collection of the
middle generation covers 10,000 objects (2,000 x 5) and takes 10 ms; with 200,000 it stopped the loop for 0.3 s during a bulk change
of the source."""


@click.command(short_help="Run the daemon until SIGTERM.")
@config_option
def serve(config: str) -> None:
    """Replicate until SIGTERM: then send what is pending, for at most 10 s, and exit 0. SIGHUP reloads the configuration."""
    # Importing NumPy starts OpenBLAS's threads, which busy-wait; replicator uses no linear algebra.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from replicator import app, early
    from replicator.telemetry import logs

    settings = load(config)
    logs.configure(settings.log.level, settings.log.format)
    gc.freeze()
    gc.set_threshold(*COLLECT)
    try:
        run(app.serve(settings, partial(load, config)), daemon=True)
    finally:
        early.ignore_signals()
