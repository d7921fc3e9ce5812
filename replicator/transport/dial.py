"""Open a TCP connection to the first address of a host that answers.

The SSH library gets only connected sockets, so that a refused connection leaves none of its objects behind. Addresses are tried as in
RFC 8305 ("Happy Eyeballs"): address families alternate, and the next address is tried when the previous one has failed, or after
STAGGER seconds, while the earlier attempts continue.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

STAGGER = 0.25
"""Seconds between the starts of two attempts (RFC 8305, section 5)."""

Place = tuple[socket.AddressFamily, Any]
"""An address family, and an address for `socket.connect`."""


async def dial(host: str, port: int) -> socket.socket:
    """Return a connected, non-blocking socket.

    Args:
        host: a name or an IP address; an IPv6 address may have a zone (`fe80::1%eth0`).
        port: TCP port.

    Raises:
        OSError: if the name is unknown, or no address answers; then the error of the first address.
    """
    return await race(await resolve(host, port))


async def resolve(host: str, port: int) -> list[Place]:
    """Return the addresses of a host in the order in which to try them."""
    if "%" in host:
        _check_zone(host.partition("%")[2])
        # Does not block with AI_NUMERICHOST; uvloop's getaddrinfo drops the zone.
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    else:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    places = [(family, address) for family, _, _, _, address in found]
    return alternating(list(dict.fromkeys(places)))


def _check_zone(zone: str) -> None:
    """Check that a network interface exists; the resolver would only report an unknown name.

    Raises:
        OSError: ENODEV if it does not.
    """
    known = {name for pair in socket.if_nameindex() for name in map(str, pair)}
    if zone not in known:
        raise OSError(errno.ENODEV, f"there is no network interface {zone!r} on this machine")


def alternating(places: Sequence[Place]) -> list[Place]:
    """Return the addresses with alternating families, beginning with the family of the first."""
    families: dict[socket.AddressFamily, list[Place]] = {}
    for place in places:
        families.setdefault(place[0], []).append(place)
    rounds = itertools.zip_longest(*families.values())
    return [place for round_ in rounds for place in round_ if place is not None]


async def race(places: Sequence[Place]) -> socket.socket:
    """Connect to the first of several addresses that answers; return the socket.

    Raises:
        OSError: if none answers; the error of the first address.
    """
    waiting = list(places)
    attempts: list[asyncio.Task[socket.socket]] = []
    running: set[asyncio.Task[socket.socket]] = set()
    winner: asyncio.Task[socket.socket] | None = None
    try:
        while waiting or running:
            if waiting:
                attempts.append(asyncio.create_task(_connected(*waiting.pop(0))))
                running.add(attempts[-1])
            timeout = STAGGER if waiting else None
            done, running = await asyncio.wait(
                running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
            winner = next((task for task in done if task.exception() is None), None)
            if winner is not None:
                return winner.result()
        return attempts[0].result()  # raises its error
    finally:
        await _give_up([task for task in attempts if task is not winner])


async def _give_up(attempts: Sequence[asyncio.Task[socket.socket]]) -> None:
    """Cancel attempts, and close their sockets."""
    for task in attempts:
        task.cancel()
    for result in await asyncio.gather(*attempts, return_exceptions=True):
        if isinstance(result, socket.socket):
            result.close()


async def _connected(family: socket.AddressFamily, address: Any) -> socket.socket:  # noqa: ANN401  # as the kernel takes it
    """Connect to one address. `loop.sock_connect` is not used, because uvloop's drops the zone of an IPv6 address."""
    if family == socket.AF_INET6 and not address[3] and ip_address(address[0]).is_link_local:
        raise OSError(
            errno.EINVAL,
            f"a link-local address needs a network interface, such as {address[0]}%eth0",
        )
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with suppress(BlockingIOError):
            sock.connect(address)
        await _writable(sock)
        _raise_error(sock)
    except BaseException:
        sock.close()
        raise
    return sock


async def _writable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(sock, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(sock)


def _raise_error(sock: socket.socket) -> None:
    """Raise the pending error of a socket, if there is one."""
    if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise OSError(error, os.strerror(error))  # OSError picks the subclass by number
