"""Verify one frontend for an operator or on a schedule; what is found goes to the log, to hooks and to `status`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from replicator.engine import events
from replicator.engine.context import Context
from replicator.engine.events import Event
from replicator.engine.frontend.compare import ByDigest
from replicator.engine.frontend.replica import Replica
from replicator.engine.frontend.verify import MOST, Report, verify
from replicator.engine.loop import loop_time
from replicator.engine.supervision import sentence
from replicator.engine.verified import PATHS, Verified, differing_text

log = structlog.get_logger()


class Verifier:
    """Verifies frontends.

    Args:
        context: what all replicas share.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    async def verify(
        self,
        replica: Replica,
        *,
        repair: bool,
        rate: int = 0,
        compared: Callable[[int], None] = lambda _: None,
    ) -> Report:
        """Compare one frontend by digest, record the result, and return it; a failure of any type is a part of it.

        Args:
            replica: the frontend.
            repair: send again what differs.
            rate: bytes per second that its agent may read; 0: no limit.
            compared: called with the number of paths that were compared since its last call.
        """
        began = loop_time()
        try:
            how = ByDigest(rate, compared)
            report = await verify(replica, self._context.pool, how, repair=repair)
        except Exception as error:
            reason, is_bug = sentence(error)
            if is_bug:
                log.exception("verification failed", host=replica.address.host)
            report = Report.of(replica, error=reason)
        report.seconds = round(loop_time() - began, 3)
        await self._record(replica, report)
        return report

    async def rescan(self) -> None:
        """Scan all sources, so that frontends are compared with what is there, also if it has changed without an event."""
        for tree in list(self._context.trees.values()):
            await tree.state.rescan()

    async def skip(self, replica: Replica, reason: str) -> Report:
        """Record why a frontend is not verified, and return that as its result."""
        report = Report.of(replica, error=reason)
        await self._record(replica, report)
        return report

    async def _record(self, replica: Replica, report: Report) -> None:
        host, found = report.host, report.silent
        repairing = len(replica.pending_paths.repairing)
        self._context.verified.note(replica.machine, _merged(replica.verified, report, repairing))
        if found:
            why = differing_text(found, report.silent_paths)
            why += "; they are sent again" if report.repaired else ""
            log.warning(
                "frontend differs",
                host=host,
                paths=found,
                samples=report.silent_paths[:PATHS],
                repaired=report.repaired,
            )
            self._context.events.publish(
                Event(name=events.VERIFY_DIFFERS, frontend=host, reason=why)
            )
        if report.error:
            log.warning("frontend not verified", host=host, reason=report.error)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._context.pool, self._context.verified.save)


def _merged(former: Verified | None, report: Report, repairing: int) -> Verified:
    """Return the result to keep: what an incomplete verification did not see may differ as it did before.

    Args:
        former: the result before; None if there was none.
        report: what was found.
        repairing: number of paths that this verification or an earlier one has marked dirty, and the frontend has not confirmed.
    """
    now = time.time()
    before = former or Verified(now)
    found = report.silent
    # Of what is repaired, only so many paths are marked dirty.
    differing = (max(0, found - MOST) if report.repaired else found) + repairing
    paths = report.silent_paths or list(before.paths)
    if report.error and before.differing > differing:
        differing, paths = before.differing, list(before.paths)
    return Verified(
        round(now, 3),
        before.succeeded_at if report.error else round(now, 3),
        differing,
        tuple(paths[:PATHS]) if differing else (),
        before.found + found,
        report.error,
    )
