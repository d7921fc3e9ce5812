"""Identify the sources (boot id, device and inode numbers), so that an agent on the same machine can recognise them.

An agent uses this to refuse a target that is, contains or lies in a source.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from replicator.files import kin
from replicator.model import MAX_TREES
from replicator.wire.messages import Origin

BOOT = Path("/proc/sys/kernel/random/boot_id")

WITHIN = 2.0
"""Seconds to wait for an lstat(2): a source on a network mount that hangs must not delay the frontends."""


def origin_of(roots: Iterable[bytes]) -> Origin:
    """Return the identity of some source directories; skip those that cannot be examined. Blocks."""
    places = []
    for root in roots:
        with suppress(OSError):
            places.append(kin.place_of(root))
    return _origin(places)


def _origin(places: Iterable[kin.Place]) -> Origin:
    try:
        boot = BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return Origin()
    sources: dict[kin.Identity, None] = {}
    above: dict[kin.Identity, None] = {}
    missing: dict[tuple[int, int, bytes], None] = {}
    for place in places:
        nearest, *further = place.chain
        if place.missing:
            above[nearest] = missing[(*nearest, place.missing)] = None
        else:
            sources[nearest] = None
        above.update(dict.fromkeys(further))
    return Origin(boot, tuple(sources), tuple(above), tuple(missing))


class Origins:
    """Identifies the sources at every call, because a source may be replaced while the daemon runs.

    Args:
        roots: returns the paths of the sources.
    """

    def __init__(self, roots: Callable[[], Iterable[bytes]]) -> None:
        self._roots = roots
        self._known: dict[bytes, kin.Place] = {}
        self._lookups: dict[bytes, asyncio.Future[kin.Place]] = {}
        self._turn = asyncio.Lock()
        # At most one lookup per source runs at a time: on a mount that hangs it occupies one thread, and no further one.
        self._pool = ThreadPoolExecutor(MAX_TREES, thread_name_prefix="origin")

    async def now(self) -> Origin:
        """Return the identity of the sources; for each that cannot be examined within WITHIN, the last known one."""
        async with self._turn:  # so that a caller never gets an older result than an earlier caller
            roots = list(self._roots())
            loop = asyncio.get_running_loop()
            self._take()
            begun = [root for root in roots if root not in self._lookups]
            for root in begun:
                self._lookups[root] = loop.run_in_executor(self._pool, kin.place_of, root)
            if begun:
                await asyncio.wait([self._lookups[root] for root in begun], timeout=WITHIN)
            self._take()
            self._known = {root: self._known[root] for root in roots if root in self._known}
            return _origin(self._known.values())

    def _take(self) -> None:
        """Store the results of finished lookups."""
        for root in [root for root, lookup in self._lookups.items() if lookup.done()]:
            lookup = self._lookups.pop(root)
            if not lookup.cancelled() and lookup.exception() is None:
                self._known[root] = lookup.result()

    def close(self) -> None:
        """Shut the threads down without waiting for lookups that hang."""
        self._pool.shutdown(wait=False, cancel_futures=True)
