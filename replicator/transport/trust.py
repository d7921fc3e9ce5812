"""Which host keys are believed: known_hosts first, and for machines that it does not know, the operator's policy.

A machine that did not exist an hour ago is recognised by its instance id, never by its address, which is used again. The key
that is believed once is remembered under that name, and another key under the same name is refused.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import asyncssh

from replicator.errors import DiscoveryError, HostKeyRefused
from replicator.ports import Console
from replicator.transport.known_hosts import KnownHosts, Matched, Parsed, lines
from replicator.transport.pins import Pins

ASK_AGAIN = 300.0
"""Seconds between two looks at a console that has shown nothing in time: the machine may be restarted to print them."""


class Policy:
    """What known_hosts says, and what happens to machines that it does not know.

    Args:
        file: known_hosts; looked at for every connection, as ssh does.
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
        self._known = KnownHosts(file)
        self._asked: dict[str, _Asked] = {}

    def damaged_lines(self) -> str:
        """Return which lines of known_hosts cannot be understood; empty if none, or if it cannot be read."""
        try:
            damaged = self._known.read("").damaged
        except HostKeyRefused:
            return ""
        return lines(damaged) if damaged else ""

    async def judge(self, host: str, port: int, identity: str) -> Judge:
        """Return what decides about the key that a machine is about to show.

        Raises:
            HostKeyRefused: nothing it could show would be believed (yet).
        """
        known = self._known.read(host)
        machine = machine_name(host, port, identity)
        trusted, authorities, _ = known.match(host, "", port)
        if self.mode == "strict" or self._pins is None or trusted or authorities:
            return Judge(known, machine)
        pinned = self._pins.keys(machine)
        if pinned:
            self._asked.pop(identity, None)
            return Judge(known, machine, pinned=pinned)
        if self.mode == "accept-new":
            return Judge(known, machine, pins=self._pins)
        shown = await self._ask_console(machine, identity)
        return Judge(known, machine, pins=self._pins, shown=shown)

    async def _ask_console(self, machine: str, identity: str) -> Sequence[str]:
        if self._console is None or not identity:
            raise HostKeyRefused(
                f"{machine}: its host key is not in {self.file}, and which instance it is is not known: no console to look at"
            )
        now = time.monotonic()
        asked = self._asked.setdefault(identity, _Asked(now))
        waited = now - asked.first
        if waited > self._console_timeout and now - asked.last < ASK_AGAIN:
            raise self._showed_nothing(identity)
        asked.last = now
        try:
            shown = await self._console.fingerprints(identity)
        except DiscoveryError as error:
            raise HostKeyRefused(f"{identity}: its console cannot be read: {error}") from error
        if shown:
            return shown
        if waited > self._console_timeout:
            raise self._showed_nothing(identity)
        raise HostKeyRefused(
            f"{identity}: its console shows no host key fingerprints yet: asked for {waited:.0f} of {self._console_timeout:.0f} s"
        )

    def _showed_nothing(self, identity: str) -> HostKeyRefused:
        return HostKeyRefused(
            f"{identity}: its console showed no host key fingerprints in {self._console_timeout:.0f} s: add its key to"
            f" {self.file}, or have cloud-init print the fingerprints: the console is asked again every {ASK_AGAIN:.0f} s"
        )


@dataclass
class _Asked:
    """When a machine's console was asked for the first and the last time."""

    first: float
    last: float = -math.inf


def machine_name(host: str, port: int, identity: str) -> str:
    """Return the name under which a machine's host key is remembered: its identity, or else its address."""
    return identity or (f"[{host}]:{port}" if port != 22 else host)


class Judge:
    """Decides about the key of one machine.

    Args:
        known: what known_hosts says.
        machine: the name under which its key is remembered.
        pinned: the public keys that were believed before; no others are believed.
        pins: where a key that is believed now is remembered; None: none is.
        shown: fingerprints of which the key must have one; None: any key will do.
    """

    def __init__(
        self,
        known: Parsed,
        machine: str,
        *,
        pinned: Sequence[str] = (),
        pins: Pins | None = None,
        shown: Sequence[str] | None = None,
    ) -> None:
        self._known = known
        self.machine = machine
        self.pinned = pinned
        self.shown = shown
        self._pins = pins

    def matching(self, host: str, addr: str, port: int | None) -> Matched:
        """Return the keys to look for; see `Parsed.match`. asyncssh calls it when it has connected."""
        trusted, authorities, revoked = self._known.match(host, addr, port)
        if self.pinned:
            trusted = [asyncssh.import_public_key(key) for key in self.pinned]
        return trusted, authorities, revoked

    @property
    def damaged(self) -> str:
        """Which lines of known_hosts cannot be understood; empty if none."""
        return lines(self._known.damaged) if self._known.damaged else ""

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
