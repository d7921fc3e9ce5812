"""Provider that reads frontends from a file: one address per line, or JSON."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from replicator.config import parse_address
from replicator.config.texts import SHOWN
from replicator.errors import ConfigError, DiscoveryError
from replicator.ports import Address, Candidate, PollResult

MAX_SIZE = 1 << 20
"""Bytes: enough for ten thousand frontends. A larger file is refused as being something else."""


class FileProvider:
    """Reads a file at every poll; reading a small file once a second is cheaper than watching it.

    Args:
        path: the file. Text: one address per line, `#` begins a comment. JSON: a list, or an object with a list `frontends`;
            its items are addresses, or objects with `address` and optionally `identity` and `state`.
        interval: seconds between two polls.
    """

    certain = False
    retry_cap = 0.0  # no backoff: a file that could not be parsed may be correct a second later

    def __init__(self, path: str, *, interval: float) -> None:
        self.name = f"file {path}"
        self.interval = interval
        self._path = Path(path)

    async def poll(self) -> PollResult:
        """Return the frontends that the file lists.

        Raises:
            DiscoveryError: if the file cannot be read, or any entry cannot be parsed; no entry is used then.
        """
        try:
            text = await asyncio.to_thread(self._read)
            candidates = {candidate.address: candidate for candidate in _parse(text)}
        except OSError as error:
            raise DiscoveryError(f"{self._path}: {error.strerror}") from error
        except (ConfigError, ValueError, RecursionError) as error:
            raise DiscoveryError(f"{self._path}: {error}") from error
        return PollResult(tuple(candidates.values()))

    def _read(self) -> str:
        with self._path.open("rb") as file:
            content = file.read(MAX_SIZE + 1)
        if len(content) > MAX_SIZE:
            raise ValueError(f"larger than {MAX_SIZE} bytes")
        return content.decode("utf-8-sig")  # some editors begin the file with a byte order mark


def _parse(text: str) -> list[Candidate]:
    if text.lstrip()[:1] in ("[", "{"):
        listed = json.loads(text)
        rows = listed.get("frontends") if isinstance(listed, dict) else listed
        if not isinstance(rows, list):
            raise ValueError("expected a list, or an object with a list `frontends`")
        return [_candidate(f"entry {number}", row) for number, row in enumerate(rows, 1)]
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    return [_candidate(f"line {number}", line) for number, line in enumerate(lines, 1) if line]


def _candidate(where: str, row: Any) -> Candidate:  # noqa: ANN401  # whatever JSON holds
    fields = {"address": row} if isinstance(row, str) else row
    if not isinstance(fields, dict) or not all(isinstance(v, str) for v in fields.values()):
        raise ValueError(f"{where}: expected an address, or an object of strings with `address`")
    if unknown := set(fields) - {"address", "identity", "state"}:
        raise ValueError(f"{where}: unknown key {min(unknown)[:SHOWN]!r}")
    if not all(map(str.isprintable, fields.values())):
        raise ValueError(f"{where}: contains an unprintable character")
    user, host, port = parse_address(where, fields.get("address", ""))
    return Candidate(
        Address(host, user, port), "file", fields.get("identity", ""), fields.get("state", "listed")
    )
