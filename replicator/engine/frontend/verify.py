"""Compare everything with a frontend by digest: the agent reads every file, we believe no size and no time."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from replicator.core.pending import Key
from replicator.core.plan import Difference
from replicator.engine.frontend.compare import compare
from replicator.engine.frontend.replica import RECENT, Replica
from replicator.errors import ControlError
from replicator.model import ROOT, printable

SHOWN = 100
"""Paths that a report names; the count is complete."""

PAUSE = 0.2
"""Seconds between two looks at what is still on its way."""

MOST = 200_000
"""Paths that are remembered, to be repaired: 40 MB. Of more, only the number is told."""


@dataclass
class Report:
    """What a verification found on one frontend.

    Attributes:
        host: the frontend.
        differing: paths that are not there as they are in the source, those that are owed or refused included.
        paths: the first of them.
        owed: how many of them are owed for longer than a change takes, or refused: sending them again is under way already.
        reasons: the first of these, each with `path` and `reason`.
        repaired: the others are sent again.
        error: why nothing, or not everything, could be compared.
    """

    host: str
    differing: int = 0
    paths: list[str] = field(default_factory=list)
    owed: int = 0
    reasons: list[dict[str, str]] = field(default_factory=list)
    repaired: bool = False
    error: str = ""

    def row(self) -> dict[str, Any]:
        """Return it as plain values."""
        return dict(self.__dict__)


async def verify(replica: Replica, pool: Executor, *, repair: bool) -> Report:
    """Compare one frontend.

    A change that is on its way, or was confirmed meanwhile, does not count as different. What has been owed for longer than a
    change takes counts, and so does what the frontend refuses or the backend cannot read.

    Raises:
        ControlError: it is not connected.
    """
    link = replica.link
    if link is None:
        raise ControlError(replica.complaint)
    report = Report(replica.address.host, repaired=repair)
    report.error = replica.doubt or replica.unopened
    for tree, opened in replica.opened_trees():
        keys: list[Key] = []

        async def found(
            differences: list[Difference], tree: int = tree, keys: list[Key] = keys
        ) -> None:
            kept = differences[: MOST - len(keys)]
            keys += [Key(tree, difference.path) for difference in kept]
            report.differing += len(differences) - len(kept)

        if (tree, opened) not in replica.opened_trees():  # it was taken out meanwhile
            continue
        judge = replica.allowance(opened) if repair else None
        # What changes meanwhile may be listed as it was before; it is confirmed by digest when it arrives.
        with replica.noting_changes() as changed:
            outcome = await compare(link, opened, ROOT, pool, found, judge, digests=True)
        if (tree, opened) not in replica.opened_trees():
            continue
        if outcome.excess or tree in replica.exceeding:
            replica.compare(tree)  # and `status` tells what that leaves there
        report.error = report.error or outcome.excess or next(iter(outcome.problems), "")
        late = await _late(replica, tree)
        keys = [key for key in keys if key not in changed and key not in late]
        _add(report, keys, late)
        if repair:
            replica.repair(keys)
            if report.differing > MOST:
                report.error = report.error or f"{report.host}: only {MOST} are repaired: again"
    return report


def _add(report: Report, keys: list[Key], late: dict[Key, str]) -> None:
    """Add the differing paths of a tree, and those that are owed or refused."""
    report.differing += len(keys) + len(late)
    report.owed += len(late)
    room = SHOWN - len(report.paths)
    report.paths += [printable(key.path) for key in (*late, *keys)][:room]
    told = list(late.items())[: SHOWN - len(report.reasons)]
    report.reasons += [
        {"path": printable(key.path), "reason": reason or "it is owed"} for key, reason in told
    ]


async def _late(replica: Replica, tree: int) -> dict[Key, str]:
    """Return what a frontend is owed of a tree and is not merely on its way, with the reason; waits until that is known."""
    deadline = asyncio.get_running_loop().time() + RECENT
    while True:
        now = asyncio.get_running_loop().time()
        late = {key: why for key, why in replica.dirty.late(now, RECENT) if key.tree == tree}
        owed = sum(key.tree == tree for key in replica.dirty)
        if now >= deadline or owed <= len(late):
            return late
        await asyncio.sleep(PAUSE)
