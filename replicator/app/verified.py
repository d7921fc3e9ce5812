"""The results of verifications, kept in a file of the state directory."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from replicator import statefile
from replicator.engine.verified import Verified, VerifiedFrontends

log = structlog.get_logger()


def open_verified(path: Path) -> VerifiedFrontends:
    """Read the results from a file. If it cannot be read, log a warning, and begin without any."""
    known: dict[str, Verified] = {}
    try:
        raw = json.loads(path.read_text("utf-8"))
        known = {str(machine): Verified.parse(row) for machine, row in raw.items()}
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        log.warning("results of verifications cannot be read", path=str(path), reason=str(error))
    return VerifiedFrontends(known, partial(_write, path))


def _write(path: Path, rows: dict[str, dict[str, Any]]) -> None:
    try:
        statefile.replace(path, json.dumps(rows, indent=1))
    except OSError as error:
        log.warning(
            "results of verifications cannot be saved", path=str(path), reason=error.strerror
        )
