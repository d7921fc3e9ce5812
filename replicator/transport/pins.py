"""Host keys that were trusted on first use, in a file of the state directory.

The file begins and ends with a marker line, so that an emptied or truncated file is detected as damaged. It must not look like a new
file: every machine would be trusted again with any key. Lines between the markers may be removed by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from urllib.parse import quote

from replicator import statefile
from replicator.errors import HostKeyRefused
from replicator.transport.changing import ChangingFile

MAX_PINS = 10_000
"""Maximum number of machines; beyond it, the oldest that are no frontends now are removed. An Auto Scaling group that replaces a machine
every five minutes takes a month to reach it."""

_BEGIN = "# host keys that replicator has believed; the last line says `# end`"
_END = "# end"

Lines = list[tuple[str, str]]
"""(machine as written in the file, public key) for each line."""


class Pins:
    """Stored host keys, in a file like known_hosts with the names of `trust.machine_name`.

    Args:
        path: the file, in a private directory.
        members: returns the machines that are frontends now, whose keys are never removed; None: unknown, so nothing is removed.
    """

    def __init__(self, path: Path, members: Callable[[], Collection[str]] | None = None) -> None:
        self._path = path
        self._members = members
        self._file = ChangingFile(path, self._parse)

    def keys(self, machine: str) -> list[str]:
        """Return the stored public keys of a machine.

        Raises:
            HostKeyRefused: if the file is damaged or cannot be read.
        """
        return [key for name, key in self._lines() if name == _written(machine)]

    def add(self, machine: str, key: str) -> None:
        """Store a key.

        Raises:
            HostKeyRefused: if the file cannot be written; without the entry, any key would be trusted next time.
        """
        lines = self._within_bounds([*self._lines(), (_written(machine), key)])
        rows = [_BEGIN, *(f"{name} {public}" for name, public in lines), _END]
        try:
            statefile.replace(self._path, "".join(f"{row}\n" for row in rows))
        except OSError as error:
            raise HostKeyRefused(
                f"{machine}: its host key cannot be remembered in {self._path}: {error.strerror}"
            ) from error

    def _within_bounds(self, lines: Lines) -> Lines:
        """Remove the oldest machines that are no frontends now until at most MAX_PINS lines are left, but never the last line."""
        surplus = len(lines) - MAX_PINS
        if surplus <= 0 or self._members is None:
            return lines
        members = {_written(machine) for machine in self._members()}
        forgotten = [i for i, (name, _) in enumerate(lines[:-1]) if name not in members]
        gone = set(forgotten[:surplus])
        return [line for i, line in enumerate(lines) if i not in gone]

    def _lines(self) -> Lines:
        try:
            return self._file.read()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise HostKeyRefused(f"{self._path} cannot be read: {error.strerror}") from error

    def _parse(self, content: bytes) -> Lines:
        try:
            rows = content.decode("ascii").split("\n")
        except ValueError as error:
            raise HostKeyRefused(f"{self._path} cannot be read: {error}") from error
        if rows[-1] or not rows[:-1]:
            raise self._damaged("it was emptied or cut off")
        rows.pop()
        if rows[0] == _BEGIN:  # earlier releases wrote neither marker
            if rows.pop() != _END:
                raise self._damaged("it was cut off: its last line is missing")
            rows = rows[1:]
        found = []
        for row in rows:
            name, _, key = row.partition(" ")
            if row and (len(key.split()) != 2 or name.startswith("#")):
                raise self._damaged(f"this is not a machine and its key: {row[:80]!r}")
            if row:
                found.append((name, key))
        return found

    def _damaged(self, how: str) -> HostKeyRefused:
        return HostKeyRefused(
            f"{self._path} is damaged: {how}: restore it from a copy; removing it means that each machine is believed"
            " anew with whatever key it shows"
        )


def _written(machine: str) -> str:
    """Return a machine's name percent-encoded as one ASCII word; an identity in a file of frontends may be any text."""
    return quote(machine, safe="[]:", errors="surrogatepass")
