"""Forgets what the catalog holds of trees that are no longer configured."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import structlog

from replicator.catalog.sqlite import CatalogStore
from replicator.model import printable

log = structlog.get_logger()

AFTER = 3600.0
"""Seconds without a break that a tree is not configured: who comments one out for a moment does not pay for a new reading."""

PAUSE = 0.05
"""Seconds between two slices of rows: uploads come first."""


class Retired:
    """Looks every now and then which trees of the catalog are no longer configured.

    Args:
        store: the catalog.
        roots: returns the sources of the trees that are configured.
        after: seconds that a tree is not configured before it is forgotten.
    """

    def __init__(
        self, store: CatalogStore, roots: Callable[[], Iterable[bytes]], after: float = AFTER
    ) -> None:
        self._store = store
        self._roots = roots
        self._after = after
        self._since: dict[bytes, float] = {}

    async def run(self) -> None:
        """Look and forget, until cancelled.

        Raises:
            SourceError: the catalog cannot be used.
        """
        while True:
            recorded = await asyncio.to_thread(self._store.recorded)
            self._look(recorded)
            more = await asyncio.to_thread(self._store.clean)
            await asyncio.sleep(PAUSE if more else self._after / 10)

    def configured(self, roots: Iterable[bytes]) -> None:
        """These trees are configured now: if they go again, their time begins anew."""
        for root in roots:
            self._since.pop(root, None)

    def _look(self, recorded: Iterable[bytes]) -> None:
        """Abandon what is not configured for long enough. On the loop: no tree can be added between the question and the deed."""
        now, roots = asyncio.get_running_loop().time(), set(self._roots())
        unused = [source for source in recorded if source not in roots]
        self._since = {source: self._since.get(source, now) for source in unused}
        for source, since in list(self._since.items()):
            if now - since >= self._after:
                self._store.abandon(source)
                del self._since[source]
                log.info(
                    "the catalog forgets a tree that is not configured", tree=printable(source)
                )
