"""The identities of the targets that were used, kept in a file of the state directory."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import structlog

from replicator import statefile
from replicator.engine.targets import Targets

log = structlog.get_logger()


def open_targets(path: Path) -> Targets:
    """Read the known targets from a file. If it cannot be read, log a warning, and accept every target once more as it is."""
    known: dict[str, str] = {}
    try:
        raw = json.loads(path.read_text("utf-8"))
        known = {str(name): str(identity) for name, identity in raw.items()}
    except FileNotFoundError:
        pass
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        log.warning("the targets cannot be read", path=str(path), reason=str(error))
    return Targets(known, partial(_write, path))


def _write(path: Path, known: dict[str, str]) -> None:
    try:
        statefile.replace(path, json.dumps(known, indent=1))
    except OSError as error:
        log.warning("the targets cannot be saved", path=str(path), reason=error.strerror)
