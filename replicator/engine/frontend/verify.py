"""Compare everything with a frontend by digest: the agent reads every file, and sizes and times are not trusted."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field
from typing import Any

from replicator.core.pending import Key
from replicator.core.plan import Difference
from replicator.engine.frontend.compare import ByDigest, OpenedTree, compare
from replicator.engine.frontend.replica import Replica
from replicator.engine.frontend.session import Session
from replicator.engine.loop import loop_time
from replicator.errors import ControlError
from replicator.model import ROOT, printable

RECENT = 5.0
"""Seconds for which a change counts as on its way rather than as missing."""

SHOWN = 100
"""Paths that a report names; the number is complete."""

PAUSE = 0.2
"""Seconds between two checks of what is still on its way."""

MOST = 200_000
"""Paths that are kept in memory to be repaired: 40 MB. More are only counted."""


DEFAULT = ByDigest()


def is_caught_up(replica: Replica) -> bool:
    """Return True if a frontend lacks only changes of the last seconds, as it always does where uploads never pause.

    One to which nothing is sent, because it or a tree is paused, is not caught up: it would lack more and more.
    """
    since = replica.dirty.oldest(sendable=True)
    recent = since is None or loop_time() - since < RECENT
    unsure = replica.resync_queue or replica.dirty.has_refusals() or replica.held
    return replica.is_bootstrapped and recent and not unsure


@dataclass
class Report:
    """What a verification found on one frontend.

    Attributes:
        host: the frontend.
        port: its port; 0 for the configured one.
        instance_id: its identity as discovery knows it; empty if unknown.
        compared: number of paths that were compared.
        seconds: how long that took.
        differing: number of paths that differ from the source, including those that are pending or refused.
        paths: the first of them.
        pending: number of them that are refused, or pending for longer than a change takes: they are sent anyway.
        reasons: the first of these, each with `path` and `reason`.
        repaired: the others are sent again.
        error: why the comparison is incomplete; empty if it is complete.
    """

    host: str
    port: int = 0
    instance_id: str = ""
    compared: int = 0
    seconds: float = 0.0
    differing: int = 0
    paths: list[str] = field(default_factory=list)
    pending: int = 0
    reasons: list[dict[str, str]] = field(default_factory=list)
    repaired: bool = False
    error: str = ""

    @staticmethod
    def of(replica: Replica, *, repaired: bool = False, error: str = "") -> Report:
        """Return a report that is empty but for these values."""
        address, identity = replica.address, replica.candidate.identity
        return Report(address.host, address.port, identity, repaired=repaired, error=error)

    @property
    def silent(self) -> int:
        """Number of the differing paths that nothing but a verification shows: they are not pending or refused."""
        return self.differing - self.pending

    @property
    def silent_paths(self) -> list[str]:
        """The first of these."""
        pending = {one["path"] for one in self.reasons}
        return [path for path in self.paths if path not in pending]

    def row(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return asdict(self)


async def verify(
    replica: Replica, pool: Executor, how: ByDigest = DEFAULT, *, repair: bool
) -> Report:
    """Compare one frontend.

    Changes that are on their way, or were confirmed meanwhile, do not count as different. Paths that have been pending for longer than a
    change takes do, and so do those that the frontend refuses or the backend cannot read.

    Raises:
        ControlError: if it is not connected, or is paused and would have to be repaired.
    """
    held = next(filter(None, map(replica.why_held, replica.held)), "")
    if repair and held:
        raise ControlError(f"{replica.address.host}: {held}")
    session = replica.session
    if session is None or not session.is_established:
        raise ControlError(replica.explanation)
    report = Report.of(replica, repaired=repair)
    report.error = replica.source_error or session.opened.missing
    for opened in [session.opened[tree] for tree in session.opened]:
        if _is_open(session, opened):  # not removed meanwhile
            await _verify_tree(replica, session, opened, pool, how, report)
        if not _is_open(session, opened):
            report.error = report.error or (
                f"{replica.address.host}: a tree was removed or changed meanwhile: verify it again"
            )
    return report


async def _verify_tree(
    replica: Replica,
    session: Session,
    opened: OpenedTree,
    pool: Executor,
    how: ByDigest,
    report: Report,
) -> None:
    keys: list[Key] = []
    left_out = 0
    tree = opened.tree.number

    def compared(count: int) -> None:
        report.compared += count
        how.compared(count)

    async def found(differences: list[Difference]) -> None:
        nonlocal left_out
        kept = differences[: MOST - len(keys)]
        keys.extend(Key(tree, difference.path) for difference in kept)
        left_out += len(differences) - len(kept)

    limit = replica.surplus.limit(opened.tree) if report.repaired else None
    # What changes meanwhile may be listed as it was before; it is confirmed by digest when it arrives.
    with replica.pending_paths.noting_changes() as changed:
        connection = session.connection
        by_digest = ByDigest(how.rate, compared)
        outcome = await compare(connection, opened, ROOT, pool, found, limit, digests=by_digest)
        if keys:  # what was recorded during the last page may not be published yet
            await opened.tree.state.published()
    if not _is_open(session, opened):
        return
    if outcome.surplus_kept or tree in replica.errors.trees_with_surplus:
        replica.resync_queue.request_tree(tree)  # so that `status` reports the surplus that is kept
    report.error = report.error or outcome.surplus_kept or next(iter(outcome.problems), "")
    late = await _late(replica, tree)
    differing = [key for key in keys if key not in changed and key not in late]
    _add(report, differing, late)
    report.differing += left_out
    if report.repaired:
        replica.repair(differing)
        if left_out:
            report.error = report.error or (
                f"{report.host}: this run repairs only {MOST} paths of a tree: run it again for the others"
            )


def _is_open(session: Session, opened: OpenedTree) -> bool:
    number = opened.tree.number
    return number in session.opened and session.opened[number] is opened


def _add(report: Report, keys: list[Key], late: dict[Key, str]) -> None:
    """Add the differing paths of a tree, and those that are pending or refused."""
    report.differing += len(keys) + len(late)
    report.pending += len(late)
    room = SHOWN - len(report.paths)
    report.paths += [printable(key.path) for key in (*late, *keys)][:room]
    shown = list(late.items())[: SHOWN - len(report.reasons)]
    report.reasons += [
        {"path": printable(key.path), "reason": reason or "it is pending"} for key, reason in shown
    ]


async def _late(replica: Replica, tree: int) -> dict[Key, str]:
    """Return the paths of a tree that are pending and not merely on their way, with the reasons; wait until that is known."""
    deadline = loop_time() + RECENT
    while True:
        now = loop_time()
        late = {key: why for key, why in replica.dirty.late(now, RECENT) if key.tree == tree}
        pending = sum(key.tree == tree for key in replica.dirty)
        if now >= deadline or pending <= len(late):
            return late
        await asyncio.sleep(PAUSE)
