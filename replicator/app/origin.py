"""Where the sources lie, for agents to find out whether they run on this very machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from replicator.files import kin
from replicator.wire.messages import Origin

BOOT = Path("/proc/sys/kernel/random/boot_id")

WITHIN = 2.0
"""Seconds: a network mount that hangs must not keep frontends from being served."""


def origin_of(roots: Iterable[bytes]) -> Origin:
    """Return where some sources lie now; those that are missing are left out. Blocks."""
    try:
        boot = BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return Origin()
    chains = []
    for root in roots:
        with suppress(OSError):
            chains.append(kin.chain_of(root, exactly=True))
    sources = dict.fromkeys(chain[0] for chain in chains)
    above = dict.fromkeys(one for chain in chains for one in chain[1:])
    return Origin(boot, tuple(sources), tuple(above))


class Origins:
    """Finds out again and again where the sources lie: a root may be replaced while the daemon runs.

    Args:
        roots: returns the sources' paths.
    """

    def __init__(self, roots: Callable[[], Iterable[bytes]]) -> None:
        self._roots = roots
        self._known = Origin()
        # One thread of its own: one look that hangs keeps the later ones from hanging, too.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="origin")

    async def now(self) -> Origin:
        """Return where the sources lie; what was known last, if that cannot be found out in time."""
        loop = asyncio.get_running_loop()
        with suppress(TimeoutError):
            async with asyncio.timeout(WITHIN):
                roots = list(self._roots())
                self._known = await loop.run_in_executor(self._pool, origin_of, roots)
        return self._known

    def close(self) -> None:
        """Take no more questions."""
        self._pool.shutdown(wait=False, cancel_futures=True)
