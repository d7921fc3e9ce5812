"""Delete the catalog rows of trees that are no longer configured."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import structlog

from replicator.catalog.store import CatalogStore
from replicator.model import printable

log = structlog.get_logger()

AFTER = 3600.0
"""Seconds without interruption that a tree must be unconfigured. An operator may comment a tree out for a short time; if its rows
were deleted at once, the source would be read and hashed again."""

PAUSE = 0.05
"""Seconds between deleting two batches of rows, so that uploads are not delayed."""


class Retired:
    """Checks at intervals which trees of the catalog are no longer configured, and deletes their rows.

    Args:
        store: the catalog.
        roots: returns the sources of the configured trees.
        after: seconds that a tree must be unconfigured before its rows are deleted.
    """

    def __init__(
        self, store: CatalogStore, roots: Callable[[], Iterable[bytes]], after: float = AFTER
    ) -> None:
        self._store = store
        self._roots = roots
        self._after = after
        self._since: dict[bytes, float] = {}

    async def run(self) -> None:
        """Check and delete, until cancelled.

        Raises:
            SourceError: if the catalog cannot be used.
        """
        while True:
            recorded = await asyncio.to_thread(self._store.recorded)
            self.check(recorded)
            more = await asyncio.to_thread(self._store.clean)
            await asyncio.sleep(PAUSE if more else self._after / 10)

    def configured(self, roots: Iterable[bytes]) -> None:
        """Reset the waiting time of trees that are configured (again)."""
        for root in roots:
            self._since.pop(root, None)

    def check(self, recorded: Iterable[bytes]) -> None:
        """Abandon trees that were unconfigured for long enough.

        Must run in the event loop without await, so that no tree can be added between the check and the deletion.
        """
        now, roots = asyncio.get_running_loop().time(), set(self._roots())
        unused = [source for source in recorded if source not in roots]
        self._since = {source: self._since.get(source, now) for source in unused}
        for source, since in list(self._since.items()):
            if now - since >= self._after:
                self._store.abandon(source)
                del self._since[source]
                log.info(
                    "deleting the catalog of a tree that is no longer configured",
                    tree=printable(source),
                )
