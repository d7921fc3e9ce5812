"""Provider that takes every address of a DNS name as a frontend, as in docker compose, Cloud Map or a round-robin record."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from replicator.errors import DiscoveryError
from replicator.ports import Address, Candidate, PollResult

TIMEOUT = 10.0
"""Seconds for one name. The resolver gives up only after 30 s, and runs in a thread that cannot be stopped."""


Resolve = Callable[[str], Awaitable[Sequence[tuple[Any, ...]]]]
"""Returns the addresses of a host name, each a tuple that ends in a socket address, as `getaddrinfo` does; raises OSError."""


async def system_resolver(host: str) -> Sequence[tuple[Any, ...]]:
    """Return what the system's resolver answers; see `Resolve`."""
    return await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)


class DnsProvider:
    """Resolves DNS names at every poll.

    Args:
        names: DNS names, with the user and port for all their addresses.
        interval: seconds between two polls.
        resolve: resolves one name.
    """

    certain = False
    retry_cap = 30.0

    def __init__(
        self,
        names: Sequence[Address],
        *,
        interval: float,
        resolve: Resolve = system_resolver,
    ) -> None:
        self.name = "dns " + " ".join(map(str, names))
        self.interval = interval
        self._names = names
        self._resolve = resolve

    async def poll(self) -> PollResult:
        """Return the addresses of all names. The answer is incomplete if a name has no address.

        Raises:
            DiscoveryError: if no address was found at all.
        """
        candidates: dict[Address, Candidate] = {}
        notes = []
        for name in self._names:
            try:
                hosts = await _addresses(name.host, self._resolve)
            except OSError as error:
                reason = "no answer in time" if isinstance(error, TimeoutError) else error.strerror
                notes.append(f"{name.host} has no address: {reason}")
                continue
            except UnicodeError:  # a label that is empty or too long
                notes.append(f"{name.host} has no address: it is not a valid host name")
                continue
            for host in hosts:
                address = Address(host, name.user, name.port)
                candidates[address] = Candidate(address, f"dns {name.host}", state="resolved")
        if notes and not candidates:
            raise DiscoveryError("; ".join(notes))
        return PollResult(tuple(candidates.values()), tuple(notes), complete=not notes)


async def _addresses(host: str, resolve: Resolve) -> list[str]:
    if "%" in host:  # an address with a zone, which uvloop's resolver would drop
        return [host]
    async with asyncio.timeout(TIMEOUT):
        found = await resolve(host)
    return list(dict.fromkeys(_text(address) for *_, address in found))


def _text(address: tuple[Any, ...]) -> str:
    """Return a resolver's socket address as text; a link-local IPv6 address gets its zone."""
    host, scope = str(address[0]), address[3] if len(address) == 4 else 0
    if not scope or "%" in host:
        return host
    try:
        return f"{host}%{socket.if_indextoname(scope)}"
    except OSError:  # the interface no longer exists
        return f"{host}%{scope}"
