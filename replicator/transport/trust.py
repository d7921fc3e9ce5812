"""Which host keys are believed: known_hosts first, and for machines that it does not know, the operator's policy.

A machine that did not exist an hour ago is recognised by its instance id, never by its address, which is used again. The key
that is believed once is remembered under that name, and another key under the same name is refused.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import asyncssh

from replicator import statefile
from replicator.errors import DiscoveryError, HostKeyRefused
from replicator.model import printable
from replicator.ports import Console

MAX_PINS = 10_000
"""Keys that are remembered; the oldest go first. An Auto Scaling group that replaces a machine every five minutes takes a
month to fill it."""


class Pins:
    """Keys that were believed once, in a file like known_hosts with the machines' own names.

    Args:
        path: the file; its directory is private to us.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def keys(self, machine: str) -> list[str]:
        """Return the public keys of a machine.

        Raises:
            HostKeyRefused: the file cannot be read, so that nobody knows what was believed before.
        """
        return [key for name, key in self._lines() if name == _written(machine)]

    def add(self, machine: str, key: str) -> None:
        """Remember a key.

        Raises:
            HostKeyRefused: it cannot be written down, and would be believed blindly again next time.
        """
        lines = [*self._lines(), (_written(machine), key)][-MAX_PINS:]
        try:
            statefile.replace(self._path, "".join(f"{name} {public}\n" for name, public in lines))
        except OSError as error:
            raise HostKeyRefused(
                f"{machine}: its host key cannot be remembered in {self._path}: {error.strerror}"
            ) from error

    def _lines(self) -> list[tuple[str, str]]:
        try:
            text = self._path.read_text("ascii")
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise HostKeyRefused(f"{self._path} cannot be read: {error}") from error
        pairs = (line.partition(" ") for line in text.splitlines())
        return [(name, key) for name, _, key in pairs if name and key]


def _written(machine: str) -> str:
    """Return a machine's name as one word of ASCII: a file of frontends may call it by any text."""
    return quote(machine, safe="[]:", errors="surrogatepass")


class Policy:
    """What known_hosts says, and what happens to machines that it does not know.

    Args:
        file: known_hosts; read at every connect, as ssh does.
        mode: `strict`, `accept-new` or `console`; see config.SSHSettings.
        pins: where keys are remembered; not used by `strict`.
        console: shows the fingerprints; needed by `console`.
        console_timeout: seconds for which a machine's console is asked.
    """

    def __init__(
        self,
        file: str,
        *,
        mode: str = "strict",
        pins: Pins | None = None,
        console: Console | None = None,
        console_timeout: float = 900.0,
    ) -> None:
        self.file = file
        self.mode = mode
        self._pins = pins
        self._console = console
        self._console_timeout = console_timeout
        self._first_asked: dict[str, float] = {}

    async def judge(self, host: str, port: int, identity: str) -> Judge:
        """Return what decides about the key that a machine is about to show.

        Raises:
            HostKeyRefused: nothing it could show would be believed (yet).
        """
        text = _read_known_hosts(self.file, host)
        known = _parsed(self.file, host, text)
        name = f"[{host}]:{port}" if port != 22 else host
        machine = identity or name
        vouched = _vouches(known, self.file, host, port)
        if self.mode == "strict" or self._pins is None or vouched:
            return Judge(known, machine)
        pinned = self._pins.keys(machine)
        if pinned:
            # As lines of known_hosts, so that a machine with keys of several kinds is asked for the one that we know.
            lines = "".join(f"{name} {key}\n" for key in pinned)
            return Judge(_parsed(self.file, host, f"{text}\n{lines}"), machine, pinned=pinned)
        if self.mode == "accept-new":
            return Judge(known, machine, pins=self._pins)
        return Judge(
            known, machine, pins=self._pins, shown=await self._ask_console(machine, identity)
        )

    async def _ask_console(self, machine: str, identity: str) -> Sequence[str]:
        if self._console is None or not identity:
            raise HostKeyRefused(
                f"{machine}: its host key is not in {self.file}, and which instance it is is not known: no console to look at"
            )
        now = time.monotonic()
        waited = now - self._first_asked.setdefault(identity, now)
        hint = f"add its key to {self.file}, or have cloud-init print the fingerprints"
        if waited > self._console_timeout:
            raise HostKeyRefused(
                f"{identity}: its console showed no host key fingerprints in {self._console_timeout:.0f} s: {hint}"
            )
        try:
            shown = await self._console.fingerprints(identity)
        except DiscoveryError as error:
            raise HostKeyRefused(f"{identity}: its console cannot be read: {error}") from error
        if not shown:
            raise HostKeyRefused(
                f"{identity}: its console shows no host key fingerprints yet: asked for {waited:.0f} of {self._console_timeout:.0f} s"
            )
        return shown


class Judge:
    """Decides about the key of one machine.

    Args:
        known: what known_hosts says; whom it vouches for is never asked about here.
        machine: the name under which its key is remembered.
        pinned: the public keys that were believed before; `known` vouches for them, and no others are believed.
        pins: where a key that is believed now is remembered; None: none is.
        shown: fingerprints of which the key must have one; None: any key will do.
    """

    def __init__(
        self,
        known: asyncssh.SSHKnownHosts,
        machine: str,
        *,
        pinned: Sequence[str] = (),
        pins: Pins | None = None,
        shown: Sequence[str] | None = None,
    ) -> None:
        self.known = known
        self.machine = machine
        self.pinned = pinned
        self.shown = shown
        self._pins = pins

    def believes(self, key: asyncssh.SSHKey) -> bool:
        """Decide, and remember a key that is believed for the first time."""
        if self._pins is None or (
            self.shown is not None and key.get_fingerprint() not in self.shown
        ):
            return False
        public = key.export_public_key().decode("ascii").split()
        self._pins.add(self.machine, " ".join(public[:2]))
        return True

    def refusal(self, name: str, key: str) -> HostKeyRefused | None:
        """Return the error for a refused key, if the policy refused it; else None."""
        if self.pinned:
            return HostKeyRefused(
                f"{name}: the host key of {self.machine} has CHANGED to {key}: the same machine must show the key that it"
                " showed before; if it was really made anew, remove its line from host_keys in the state directory"
            )
        if self.shown is not None:
            return HostKeyRefused(
                f"{name}: its host key {key} is not one of those that {self.machine} printed on its console"
                f" ({', '.join(self.shown)}): somebody else answers at this address"
            )
        return None


def _read_known_hosts(file: str, host: str) -> str:
    """Return what known_hosts says at this moment.

    Raises:
        HostKeyRefused: it cannot be read; then nobody can be recognised.
    """
    if not file:
        raise HostKeyRefused(
            f"{host}: ssh.known_hosts is empty: without it no host can be recognised"
        )
    try:
        return Path(file).read_text("utf-8", "replace")
    except OSError as error:
        raise HostKeyRefused(
            f"{host}: {file}: {error.strerror}: without it no host can be recognised; make it with ssh-keyscan, and"
            " compare the fingerprints by another way"
        ) from error


def _parsed(file: str, host: str, text: str) -> asyncssh.SSHKnownHosts:
    try:
        return asyncssh.import_known_hosts(text)
    except ValueError as error:
        raise _not_understood(file, host, error) from error


def _vouches(known: asyncssh.SSHKnownHosts, file: str, host: str, port: int) -> bool:
    """Return True if known_hosts names a key or an authority for a host."""
    try:
        trusted, authorities, *_ = asyncssh.match_known_hosts(known, host, "", port)
    except ValueError as error:  # a line of this host holds a certificate
        raise _not_understood(file, host, error) from error
    return bool(trusted or authorities)


def _not_understood(file: str, host: str, error: ValueError) -> HostKeyRefused:
    return HostKeyRefused(f"{host}: {file} cannot be understood: {printable(str(error).encode())}")
