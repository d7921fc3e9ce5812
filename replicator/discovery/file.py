"""A file that somebody else writes: one address on each line, or JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from replicator.config import parse_address
from replicator.config.texts import SHOWN
from replicator.errors import ConfigError, DiscoveryError
from replicator.ports import Address, Look, Sighting

MAX_SIZE = 1 << 20
"""Bytes: ten thousand frontends. Whatever is larger is another file."""


class FileProvider:
    """Reads a file at every look: there is nothing cheaper than to read a page of text once a second.

    Args:
        path: the file. Text: an address on each line, `#` begins a comment. JSON: a list (or an object with a list
            `frontends`) of addresses, or of objects with `address` and, as far as known, `identity` and `state`.
        interval: seconds between two looks.
        exclude: hosts and identities that are none of ours.
    """

    certain = False
    retry_cap = 0.0  # a file that was not understood may be right a second later, and reading it costs nothing

    def __init__(self, path: str, *, interval: float, exclude: Sequence[str] = ()) -> None:
        self.name = f"file {path}"
        self.interval = interval
        self._path = Path(path)
        self._exclude = frozenset(exclude)

    async def look(self) -> Look:
        """Return whom the file names.

        Raises:
            DiscoveryError: it cannot be read or understood; then nothing of it is believed.
        """
        try:
            text = await asyncio.to_thread(self._read)
            sightings = {
                s.address: s
                for s in _parse(text)
                if not self._exclude & {s.address.host, s.identity}
            }
        except OSError as error:
            raise DiscoveryError(f"{self._path}: {error.strerror}") from error
        except (ConfigError, ValueError, RecursionError) as error:
            raise DiscoveryError(f"{self._path}: {error}") from error
        return Look(tuple(sightings.values()))

    def _read(self) -> str:
        with self._path.open("rb") as file:
            content = file.read(MAX_SIZE + 1)
        if len(content) > MAX_SIZE:
            raise ValueError(f"larger than {MAX_SIZE} bytes")
        return content.decode("utf-8-sig")  # some editors write a BOM


def _parse(text: str) -> list[Sighting]:
    if text.lstrip()[:1] in ("[", "{"):
        listed = json.loads(text)
        rows = listed.get("frontends") if isinstance(listed, dict) else listed
        if not isinstance(rows, list):
            raise ValueError("expected a list, or an object with a list `frontends`")
        return [_sighting(f"entry {number}", row) for number, row in enumerate(rows, 1)]
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    return [_sighting(f"line {number}", line) for number, line in enumerate(lines, 1) if line]


def _sighting(where: str, row: Any) -> Sighting:  # noqa: ANN401  # whatever JSON holds
    fields = {"address": row} if isinstance(row, str) else row
    if not isinstance(fields, dict) or not all(isinstance(v, str) for v in fields.values()):
        raise ValueError(f"{where}: expected an address, or an object of texts with `address`")
    if unknown := set(fields) - {"address", "identity", "state"}:
        raise ValueError(f"{where}: unknown key {min(unknown)[:SHOWN]!r}")
    if not all(map(str.isprintable, fields.values())):
        raise ValueError(f"{where}: holds what cannot be printed")
    user, host, port = parse_address(where, fields.get("address", ""))
    return Sighting(
        Address(host, user, port), "file", fields.get("identity", ""), fields.get("state", "listed")
    )
