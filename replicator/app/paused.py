"""The pauses of an operator, kept in a file of the state directory."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

from replicator import statefile
from replicator.engine.paused import Machine, Pause, Paused
from replicator.errors import ReplicatorError
from replicator.ports import Address


def open_paused(path: Path) -> Paused:
    """Read the pauses from a file.

    Raises:
        ReplicatorError: if it cannot be read. To go on without it would send to what an operator has paused.
    """
    paused = Paused(save=partial(_write, path))
    try:
        for row in json.loads(path.read_text("utf-8")):
            _add(paused, row)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ReplicatorError(
            f"{path} cannot be read ({error!r}), so it is unknown what `replicator pause` has paused. Correct the file, or"
            " remove it to unpause everything"
        ) from error
    return paused


def _add(paused: Paused, row: dict[str, Any]) -> None:
    until = row["until"]
    pause = Pause(float(row["since"]), str(row["by"]), None if until is None else float(until))
    if "source" in row:
        paused.trees[os.fsencode(row["source"])] = pause
    else:
        address = Address(str(row["host"]), str(row["user"]), int(row["port"]))
        paused.frontends[Machine(address, str(row["identity"]))] = pause


def _write(path: Path, paused: Paused) -> None:
    rows: list[dict[str, Any]] = [
        {"source": os.fsdecode(root), **pause.row()} for root, pause in paused.trees.items()
    ]
    for (address, identity), pause in paused.frontends.items():
        where = {"host": address.host, "user": address.user, "port": address.port}
        rows.append({**where, "identity": identity, **pause.row()})
    statefile.replace(path, json.dumps(rows, indent=1))
