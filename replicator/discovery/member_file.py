"""Stores the members of every provider in a file of the state directory, for a start during which a provider fails."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import structlog

from replicator import statefile
from replicator.ports import Address, Candidate, Decision

log = structlog.get_logger()


class MemberFile:
    """Implements `ports.MemberStore`. If the file cannot be read or written, it logs a warning.

    Args:
        path: the file; replaced atomically.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._saved = ""

    def load(self) -> dict[str, list[Candidate]]:
        """Return what was saved, by provider; nothing if the file is missing or malformed."""
        try:
            raw = json.loads(self._path.read_text("utf-8"))
            return {name: [_candidate(row) for row in rows] for name, rows in raw.items()}
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
            log.warning(
                "the stored members cannot be read", path=str(self._path), reason=str(error)
            )
            return {}

    def save(self, known: dict[str, list[Candidate]]) -> None:
        """Write the file, if its content would change."""
        text = json.dumps({name: [_row(s) for s in rows] for name, rows in known.items()}, indent=1)
        if text == self._saved:
            return
        try:
            statefile.replace(self._path, text)
            self._saved = text
        except OSError as error:
            log.warning("the members cannot be stored", path=str(self._path), reason=error.strerror)


def _row(candidate: Candidate) -> dict[str, object]:
    return {
        **asdict(candidate.address),
        "source": candidate.source,
        "identity": candidate.identity,
        "state": candidate.state,
        "draining": candidate.decision is Decision.DRAIN,
    }


def _candidate(row: dict[str, object]) -> Candidate:
    host, user, port = row["host"], row["user"], row["port"]
    texts = [row["source"], row["identity"], row["state"]]
    if not isinstance(host, str) or not isinstance(user, str) or type(port) is not int:
        raise TypeError("expected strings for host and user, and an integer for port")
    if not 0 <= port < 65536:
        raise ValueError("expected a port from 0 to 65535")
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("expected strings for source, identity and state")
    decision = Decision.DRAIN if row["draining"] else Decision.SERVE
    source, identity, state = map(str, texts)
    return Candidate(
        Address(host, user, port),
        source,
        identity,
        state,
        decision,
        "known from before the restart",
    )
