"""Where the sources lie, for agents to find out whether they run on this very machine."""

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
"""Seconds: a network mount that hangs must not keep frontends from being served."""


def origin_of(roots: Iterable[bytes]) -> Origin:
    """Return where some sources lie now; those whose place cannot be found out are left out. Blocks."""
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
    """Finds out again and again where the sources lie: a root may be replaced while the daemon runs.

    Args:
        roots: returns the sources' paths.
    """

    def __init__(self, roots: Callable[[], Iterable[bytes]]) -> None:
        self._roots = roots
        self._known: dict[bytes, kin.Place] = {}
        self._looks: dict[bytes, asyncio.Future[kin.Place]] = {}
        self._turn = asyncio.Lock()
        # A look that hangs keeps its thread and its source's later looks; each source has at most one look at a time.
        self._pool = ThreadPoolExecutor(MAX_TREES, thread_name_prefix="origin")

    async def now(self) -> Origin:
        """Return where the sources lie; of each that cannot be found out in time, what was known last."""
        async with self._turn:  # an answer is never older than the one before
            roots = list(self._roots())
            loop = asyncio.get_running_loop()
            self._take()
            begun = [root for root in roots if root not in self._looks]
            for root in begun:
                self._looks[root] = loop.run_in_executor(self._pool, kin.place_of, root)
            if begun:
                await asyncio.wait([self._looks[root] for root in begun], timeout=WITHIN)
            self._take()
            self._known = {root: self._known[root] for root in roots if root in self._known}
            return _origin(self._known.values())

    def _take(self) -> None:
        """Take in the looks that have ended."""
        for root in [root for root, look in self._looks.items() if look.done()]:
            look = self._looks.pop(root)
            if not look.cancelled() and look.exception() is None:
                self._known[root] = look.result()

    def close(self) -> None:
        """Take no more questions."""
        self._pool.shutdown(wait=False, cancel_futures=True)
