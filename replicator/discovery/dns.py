"""Every address of a name: docker compose, Cloud Map, a round-robin record."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

from replicator.errors import DiscoveryError
from replicator.ports import Address, Look, Sighting

TIMEOUT = 10.0
"""Seconds for one name; the resolver's own limit is half a minute, in a thread that cannot be stopped."""


class DnsProvider:
    """Resolves names again and again.

    Args:
        names: as (user, host, port) of which each address is a frontend.
        interval: seconds between two looks.
        exclude: addresses that are none of ours.
    """

    certain = False
    retry_cap = 30.0

    def __init__(
        self, names: Sequence[Address], *, interval: float, exclude: Sequence[str] = ()
    ) -> None:
        self.name = "dns " + " ".join(map(str, names))
        self.interval = interval
        self._names = names
        self._exclude = frozenset(exclude)

    async def look(self) -> Look:
        """Return the addresses of all names; a name without any makes the answer incomplete.

        Raises:
            DiscoveryError: no name has any.
        """
        sightings: dict[Address, Sighting] = {}
        notes = []
        for name in self._names:
            try:
                hosts = await _resolve(name.host)
            except OSError as error:
                reason = "no answer in time" if isinstance(error, TimeoutError) else error.strerror
                notes.append(f"{name.host} has no address: {reason}")
                continue
            except UnicodeError:  # a label that is empty or too long
                notes.append(f"{name.host} has no address: it is no host name")
                continue
            for host in hosts:
                if host not in self._exclude:
                    address = Address(host, name.user, name.port)
                    sightings[address] = Sighting(address, f"dns {name.host}", state="resolved")
        if notes and not sightings:
            raise DiscoveryError("; ".join(notes))
        return Look(tuple(sightings.values()), tuple(notes), complete=not notes)


async def _resolve(host: str) -> list[str]:
    if "%" in host:  # uvloop's resolver drops the zone
        return [host]
    async with asyncio.timeout(TIMEOUT):
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(_text(address) for *_, address in found))


def _text(address: tuple[Any, ...]) -> str:
    """Return an address of the resolver as text, with the network interface of a link-local one."""
    host, scope = str(address[0]), address[3] if len(address) == 4 else 0
    if not scope or "%" in host:
        return host
    try:
        return f"{host}%{socket.if_indextoname(scope)}"
    except OSError:  # an interface that has gone
        return f"{host}%{scope}"
