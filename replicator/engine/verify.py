"""Compare everything with a frontend by digest: the agent reads every file, we believe no size and no time."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any

from replicator.core.debts import Key
from replicator.core.plan import Difference
from replicator.engine.reconcile import reconcile
from replicator.engine.replica import Replica
from replicator.errors import ControlError
from replicator.model import ROOT, printable

SHOWN = 100
"""Paths that a report names; the count is complete."""


MOST = 200_000
"""Paths that are remembered, to be repaired: 40 MB. Of more, only the number is told."""


@dataclass
class Report:
    """What a verification found on one frontend."""

    host: str
    differing: int = 0
    paths: list[str] = field(default_factory=list)
    repaired: bool = False
    error: str = ""

    def row(self) -> dict[str, Any]:
        """Return it as plain values."""
        return dict(self.__dict__)


async def verify(replica: Replica, pool: Executor, *, repair: bool) -> Report:
    """Compare one frontend; what is on its way to it at this moment does not count as different.

    Raises:
        ControlError: it is not connected.
    """
    link = replica.link
    if link is None:
        raise ControlError(replica.complaint)
    report = Report(replica.address.host, repaired=repair)

    for tree, territory in replica.territories():
        keys: list[Key] = []

        async def found(
            differences: list[Difference], tree: int = tree, keys: list[Key] = keys
        ) -> None:
            kept = differences[: MOST - len(keys)]
            keys += [Key(tree, difference.path) for difference in kept]
            report.differing += len(differences) - len(kept)

        terms = territory if repair else replace(territory, delete_guard=1.0)
        # What changes meanwhile may be listed as it was before; it is confirmed by digest when it arrives.
        with replica.noting_changes() as changed:
            outcome = await reconcile(link, terms, ROOT, pool, found, digests=True)
        report.error = report.error or outcome.excess
        keys = [key for key in keys if key not in changed]
        report.differing += len(keys)
        report.paths += [printable(key.path) for key in keys[: SHOWN - len(report.paths)]]
        if repair:
            replica.repair(keys)
            if report.differing > MOST:
                report.error = report.error or f"{report.host}: only {MOST} are repaired: again"
    return report
