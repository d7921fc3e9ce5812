"""The last good answers, in a file of the state directory."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import structlog

from replicator import statefile
from replicator.ports import Address, Decision, Sighting

log = structlog.get_logger()


class RosterFile:
    """See `ports.RosterMemory`; a file that cannot be read or written costs a warning, never a frontend.

    Args:
        path: the file, replaced whole.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._saved = ""

    def load(self) -> dict[str, list[Sighting]]:
        """Return what was saved; whatever is not as we write it is as good as nothing."""
        try:
            raw = json.loads(self._path.read_text("utf-8"))
            return {name: [_sighting(row) for row in rows] for name, rows in raw.items()}
        except FileNotFoundError:
            return {}
        except (
            OSError,
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
            RecursionError,
        ) as error:
            log.warning("the last roster cannot be read", path=str(self._path), reason=str(error))
            return {}

    def save(self, known: dict[str, list[Sighting]]) -> None:
        """Replace what was saved, if it is another."""
        text = json.dumps({name: [_row(s) for s in rows] for name, rows in known.items()}, indent=1)
        if text == self._saved:
            return
        try:
            statefile.replace(self._path, text)
            self._saved = text
        except OSError as error:
            log.warning("the roster cannot be saved", path=str(self._path), reason=error.strerror)


def _row(sighting: Sighting) -> dict[str, object]:
    return {
        **asdict(sighting.address),
        "source": sighting.source,
        "identity": sighting.identity,
        "state": sighting.state,
        "draining": sighting.decision is Decision.DRAIN,
    }


def _sighting(row: dict[str, object]) -> Sighting:
    host, user, port = row["host"], row["user"], row["port"]
    texts = [row["source"], row["identity"], row["state"]]
    if not isinstance(host, str) or not isinstance(user, str) or type(port) is not int:
        raise TypeError("an address is no address")
    if not 0 <= port < 65536:
        raise ValueError("a port is no port")
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a text is no text")
    decision = Decision.DRAIN if row["draining"] else Decision.SERVE
    source, identity, state = map(str, texts)
    return Sighting(
        Address(host, user, port),
        source,
        identity,
        state,
        decision,
        "known from before the restart",
    )
