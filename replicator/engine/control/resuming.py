"""`resume`: an operator confirms deletions that are held back, and sources and targets that are in doubt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from replicator.core.lifecycle import State
from replicator.engine.context import Context
from replicator.engine.control.names import Name, find, pipeline_of, replica_of
from replicator.engine.frontend.replica import Replica
from replicator.engine.ingest.pipeline import Pipeline
from replicator.engine.paused import Machine
from replicator.engine.service import Service
from replicator.model import printable

COMPARED = (State.QUEUED, State.BOOTSTRAPPING)
"""States of a frontend that is being compared, or waits for that."""


async def resume(service: Service, context: Context, name: Name | None) -> list[dict[str, Any]]:
    """Confirm what is held back and in doubt; return a row for each.

    This also confirms the surplus of these trees on frontends whose comparison is running or queued. It does not affect other trees.

    Args:
        service: the service.
        context: what all replicas share.
        name: the tree whose source, targets and surplus are confirmed; or the frontend whose targets and surplus are; None: all.

    Raises:
        ControlError: if the name is unknown or ambiguous.
    """
    pipelines, replicas = _selected(service, name)
    numbers = {pipeline.tree.number for pipeline in pipelines}
    if name is not None and not pipelines:
        numbers = set(context.trees)
    roots = {context.trees[number].target.root for number in numbers}
    accepted = context.targets.accept_refused({replica.machine for replica in replicas}, roots)
    in_doubt = [one for one in pipelines if one.needs_confirmation]
    rows = [_row(printable(one.tree.root), one.needs_confirmation) for one in in_doubt]
    # No await before the comparisons are requested: between the end of a pause and that request nothing seems to be missing.
    for pipeline in in_doubt:
        pipeline.resume()
    with_surplus = [one for one in replicas if one.errors.trees_with_surplus & numbers]
    rows += [_row(one.address.host, one.errors.surplus_kept) for one in with_surplus]
    for replica in replicas:
        if replica.machine in accepted:
            rows.append(_row(replica.address.host, accepted[replica.machine]))
            replica.use_targets()
    asked = set().union(*(replica.errors.trees_with_surplus for replica in with_surplus))
    for replica in replicas:
        confirmed = {one.tree.number for one in in_doubt} | replica.errors.trees_with_surplus
        confirmed |= asked if replica.state in COMPARED else set()
        if confirmed & numbers:
            replica.surplus.confirm(confirmed & numbers & context.trees.keys())
    for pipeline in in_doubt:
        await pipeline.forget_pause()
    return rows


def _row(what: str, reason: str) -> dict[str, Any]:
    return {"what": what, "reason": reason}


def _selected(service: Service, name: Name | None) -> tuple[Sequence[Pipeline], Sequence[Replica]]:
    """Return the trees whose sources are resumed, and the frontends."""
    replicas = list(service.fleet)
    if name is None:
        return list(service.pipelines.values()), replicas
    named = find(name, service)
    if isinstance(named, Machine):
        replica = replica_of(named, service)
        return [], [replica] if replica is not None else []
    pipeline = pipeline_of(named, service)
    return [pipeline] if pipeline is not None else [], replicas
