"""Look up host keys in known_hosts.

The file is checked for every connection, as by ssh, and parsed again only after a change. A line that cannot be parsed affects
only its own hosts: it is skipped, and logged once per change. If such a line revokes a key, its hosts are refused, because the
revoked key is unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import asyncssh
import structlog

from replicator.errors import HostKeyRefused
from replicator.transport.changing import ChangingFile

log = structlog.get_logger()

SHOWN = 5
"""Maximum number of line numbers in an error text."""

_ANY_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

Matched = tuple[Sequence[asyncssh.SSHKey], Sequence[asyncssh.SSHKey], Sequence[asyncssh.SSHKey]]
"""Host keys, keys of certificate authorities, and revoked keys."""


class Parsed:
    """A parsed known_hosts file.

    Args:
        text: content of the file.

    Attributes:
        damaged: numbers of the lines that could not be parsed.
    """

    def __init__(self, text: str) -> None:
        self.damaged: list[int] = []
        self._known = asyncssh.SSHKnownHosts()
        self._suspects = asyncssh.SSHKnownHosts()
        self._suspect_lines: list[int] = []
        self._suspects_all = False
        for number, line in enumerate(text.split("\n"), 1):
            self._add(number, line.strip())

    def _add(self, number: int, line: str) -> None:
        if not line or line.startswith("#"):
            return
        if _is_understood(line):
            try:
                self._known.load(line)
            except ValueError:
                pass
            else:
                return
        self.damaged.append(number)
        marker, *rest = line.split()
        if len(marker) > 1 and "@revoked".startswith(marker):
            self._suspect_lines.append(number)
            self._suspect(rest)

    def _suspect(self, rest: Sequence[str]) -> None:
        """Record the hosts of a revocation that cannot be parsed: all hosts, if its host patterns cannot be parsed either."""
        if len(rest) < 2:  # the hosts may be cut off
            self._suspects_all = True
            return
        try:
            self._suspects.load(f"{rest[0]} {_ANY_KEY}")
        except ValueError:
            self._suspects_all = True

    def match(self, host: str, addr: str, port: int | None) -> Matched:
        """Return the keys of a host.

        Args:
            host: name or address that was dialled.
            addr: its IP address; empty if unknown.
            port: TCP port.

        Raises:
            HostKeyRefused: if a key of this host is revoked by a line that cannot be parsed.
        """
        standard = None if port == 22 else port  # known_hosts contains no port 22
        if self._suspects_all or self._suspects.match(host, addr, standard)[0]:
            raise HostKeyRefused(
                f"{host}: known_hosts revokes a key in a line that cannot be understood"
                f" ({lines(self._suspect_lines)}): complete or remove that line"
            )
        trusted, authorities, revoked, *_ = self._known.match(host, addr, standard)
        return trusted, authorities, revoked


class KnownHosts:
    """A known_hosts file, parsed once for each change.

    Args:
        path: the file; empty: none, so that every host is refused.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = ChangingFile(Path(path), self._parse)

    def read(self, host: str) -> Parsed:
        """Return the parsed file as it is now.

        Args:
            host: for error texts.

        Raises:
            HostKeyRefused: if it cannot be read.
        """
        if not self.path:
            raise HostKeyRefused(
                f"{host}: ssh.known_hosts is empty: without it no host can be recognised"
            )
        try:
            return self._file.read()
        except OSError as error:
            raise HostKeyRefused(
                f"{host}: {self.path}: {error.strerror}: without it no host can be recognised; make it with"
                " ssh-keyscan, and compare the fingerprints on the machines' consoles"
            ) from error

    def _parse(self, content: bytes) -> Parsed:
        parsed = Parsed(content.decode("utf-8-sig", "replace"))
        if parsed.damaged:
            log.warning(
                "lines of known_hosts cannot be understood and are left out",
                file=self.path,
                lines=lines(parsed.damaged),
            )
        return parsed


def lines(numbers: Sequence[int]) -> str:
    """Return a short text with line numbers."""
    shown = ", ".join(map(str, numbers[:SHOWN]))
    more = f" and {len(numbers) - SHOWN} more" if len(numbers) > SHOWN else ""
    return f"line{'s' if len(numbers) > 1 else ''} {shown}{more}"


def _is_understood(line: str) -> bool:
    """Return True if a line ends in a public key, as all lines of known_hosts do."""
    parts = line.split(None, 2 if line.startswith("@") else 1)
    try:
        asyncssh.import_public_key(parts[-1])
    except (asyncssh.KeyImportError, ValueError):
        return False
    return len(parts) > 1
