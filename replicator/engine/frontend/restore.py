"""Fill a new frontend from the base in an object store, before its trees are compared for the first time.

It costs the backend a few messages for each GiB, so frontends do not wait for a place in the bootstrap queue meanwhile. Whatever the
base lacks, or the store does not deliver, is found by the comparison and sent over SSH. That waits no longer than a few seconds for a
store that does not answer, however many trees there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import structlog

from replicator.core.lifecycle import State
from replicator.engine.context import Context
from replicator.engine.frontend.connection import Connection
from replicator.engine.frontend.progress import Progress
from replicator.engine.frontend.state import FrontendState, RestoreResult
from replicator.engine.loop import loop_time
from replicator.errors import StoreError
from replicator.model import printable
from replicator.ports import Base, Offer
from replicator.wire.messages import Restore, Restored
from replicator.wire.restoring import DECLINED

log = structlog.get_logger()

MOST_HELD = 20_000
"""Entries that a target may hold: to count them takes an agent 20 ms. One with more was filled before."""

ATTEMPTS = 3
"""Restores of a tree that are begun before its first comparison; the connection was lost during the others."""


OFFER_WITHIN = 5.0
"""Seconds in which a base must be offered. Only renewed credentials take longer than a millisecond."""

URLS_WITHIN = 20.0
"""Seconds in which URLs must be made: an agent waits 60 s for them, and 64 of its reports, one each second, may wait here."""

WASTED = 2.0
"""Seconds that a restore that has created nothing may have taken without keeping the other trees from being restored."""


class Restorer:
    """Restores the trees of one frontend over one connection.

    Args:
        connection: connection to the agent.
        context: the trees, and the base.
        state: state of the frontend.
    """

    def __init__(self, connection: Connection, context: Context, state: FrontendState) -> None:
        self._connection = connection
        self._context = context
        self._state = state

    async def restore(self, trees: Iterable[int]) -> None:
        """Restore those of the trees that were not compared yet, as far as there is a base.

        Raises:
            ChannelLost: if the connection is lost.
        """
        base = self._context.base
        if base is None or "restore" not in self._connection.agent.features:
            return
        for number in trees:
            tree = self._context.trees.get(number)
            begun = self._state.restores_begun.get(number, 0)
            if tree is None or number in self._state.pending_paths.counted or begun >= ATTEMPTS:
                continue
            if (offer := await self._offer(base, tree.root)) is None:
                continue
            self._state.restores_begun[number] = begun + 1
            if not await self._restore(number, tree.root, offer, resumes=begun > 0):
                return

    async def _offer(self, base: Base, root: bytes) -> Offer | None:
        try:
            async with asyncio.timeout(OFFER_WITHIN):
                return await base.offer(root)
        except TimeoutError:
            log.warning(
                "base not offered", tree=printable(root), reason="the store gave no URL in time"
            )
            return None

    async def _restore(self, tree: int, root: bytes, offer: Offer, *, resumes: bool) -> bool:
        """Restore one tree; return False if the store has cost time and given nothing, as it would for other trees."""
        state = self._state
        most = 2 * offer.rows if resumes else min(offer.rows // 2, MOST_HELD)
        request = Restore(tree, offer.manifest, offer.size, offer.url, most)
        began = loop_time()
        progress = Progress(files_total=offer.rows, bytes_total=offer.content, started=began)
        restored = state.restored[tree] = RestoreResult()

        def reported(report: Restored) -> None:
            restored.files, restored.content = report.files, report.content
            restored.failed, restored.error = report.failed, report.error
            restored.seconds = loop_time() - began
            if report.files and state.progress is not progress:
                state.progress = progress
                state.move_to(State.BOOTSTRAPPING)
            progress.files_done, progress.bytes_done = report.files, report.content

        async def urls_of(packs: Sequence[int]) -> list[str]:
            assert self._context.base is not None
            try:
                async with asyncio.timeout(URLS_WITHIN):
                    return await self._context.base.urls(root, offer.manifest, packs)
            except (StoreError, TimeoutError) as error:
                reason = str(error) or "they take too long"
                log.warning("no URLs of the base", tree=printable(root), reason=reason)
                return [""] * len(packs)

        restored.error = await self._connection.restoring.run(request, urls_of, reported)
        progress.ended = loop_time()
        if restored.error == DECLINED:
            del state.restored[tree]
            return True
        say = log.warning if restored.error else log.info
        say(
            "restored from the base",
            host=state.address.host,
            tree=printable(root),
            files=restored.files,
            bytes=restored.content,
            failed=restored.failed,
            reason=restored.error,
        )
        return not restored.error or restored.files > 0 or loop_time() - began < WASTED
