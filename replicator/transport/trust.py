"""Decide which host keys are trusted: those in known_hosts, and for machines that it does not contain, by the operator's policy.

Machines are identified by instance id where it is known, because addresses are reused. A key that is trusted for the first time is
stored under that id; another key under the same id is refused later.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import asyncssh

from replicator.errors import DiscoveryError, HostKeyRefused
from replicator.ports import Console
from replicator.transport.known_hosts import KnownHosts, Matched, Parsed, lines
from replicator.transport.pins import Pins

ASK_AGAIN = 300.0
"""Seconds between two reads of a console that has shown no fingerprints in time: a restart of the machine may print them."""


class HostKeyPolicy:
    """The host key policy of the daemon.

    Args:
        file: path of known_hosts; checked for every connection, as by ssh.
        mode: `strict`, `accept-new` or `console`; see config.SSHSettings.
        pins: store of trusted keys; not used by `strict`.
        console: reads console output; required by `console`.
        console_timeout: seconds after which a console without fingerprints is read only every ASK_AGAIN seconds.
        clock: returns the current time in seconds.
    """

    def __init__(
        self,
        file: str,
        *,
        mode: str = "strict",
        pins: Pins | None = None,
        console: Console | None = None,
        console_timeout: float = 900.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.file = file
        self.mode = mode
        self._pins = pins
        self._console = console
        self._console_timeout = console_timeout
        self._clock = clock
        self._known = KnownHosts(file)
        self._asked: dict[str, _Asked] = {}

    async def host_key_check(self, host: str, port: int, identity: str) -> HostKeyCheck:
        """Return the object that decides about the host key of one connection.

        Args:
            host: name or address to dial.
            port: TCP port.
            identity: the machine's instance id; empty if unknown.

        Raises:
            HostKeyRefused: if no key could be trusted (yet).
        """
        known = self._known.read(host)
        machine = machine_name(host, port, identity)
        trusted, authorities, _ = known.match(host, "", port)
        if self.mode == "strict" or self._pins is None or trusted or authorities:
            return HostKeyCheck(known, machine)
        pinned = self._pins.keys(machine)
        if pinned:
            self._asked.pop(identity, None)
            return HostKeyCheck(known, machine, pinned=pinned)
        if self.mode == "accept-new":
            return HostKeyCheck(known, machine, pins=self._pins)
        shown = await self._ask_console(machine, identity)
        return HostKeyCheck(known, machine, pins=self._pins, shown=shown)

    async def _ask_console(self, machine: str, identity: str) -> Sequence[str]:
        if self._console is None or not identity:
            raise HostKeyRefused(
                f"{machine}: its host key is not in {self.file}, and its instance id is unknown, so that its console cannot be read"
            )
        now = self._clock()
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
    """Times of the first and the last read of a machine's console."""

    first: float
    last: float = -math.inf


def machine_name(host: str, port: int, identity: str) -> str:
    """Return the name under which a machine's host key is stored: its identity, or else its address."""
    return identity or (f"[{host}]:{port}" if port != 22 else host)


class HostKeyCheck:
    """Decides whether the host key of one machine is accepted.

    Args:
        known: the parsed known_hosts.
        machine: name under which the key is stored.
        pinned: stored public keys; if there are any, no other key is trusted.
        pins: store for a key that is trusted for the first time; None: trust no new key.
        shown: fingerprints of which the key must have one; None: any key is accepted.
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
        """Return the trusted, authority and revoked keys; see `Parsed.match`. asyncssh calls this after it has connected."""
        trusted, authorities, revoked = self._known.match(host, addr, port)
        if self.pinned:
            trusted = [asyncssh.import_public_key(key) for key in self.pinned]
        return trusted, authorities, revoked

    @property
    def damaged(self) -> str:
        """Which lines of known_hosts cannot be parsed; empty if there are none."""
        return lines(self._known.damaged) if self._known.damaged else ""

    def accept_new(self, key: asyncssh.SSHKey) -> bool:
        """Store a key that known_hosts does not contain if the policy trusts it; return whether it does."""
        if self._pins is None or (
            self.shown is not None and key.get_fingerprint() not in self.shown
        ):
            return False
        public = key.export_public_key().decode("ascii").split()
        self._pins.add(self.machine, " ".join(public[:2]))
        return True

    def refusal(self, name: str, key: str) -> HostKeyRefused | None:
        """Return the error for a key that the policy refused; None if known_hosts refused it.

        Args:
            name: host and port, for the error text.
            key: fingerprint of the refused key.
        """
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
