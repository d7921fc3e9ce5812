"""The states that are shown for frontends and trees: those of their life cycles, and what keeps them from being right."""

from __future__ import annotations

from collections.abc import Iterable

from replicator.core.lifecycle import State
from replicator.engine.frontend.replica import Replica
from replicator.engine.ingest.pipeline import Pipeline

DEGRADED = "degraded"
"""State shown for a live frontend that refuses a path, cannot be sent one, or has paths that should not exist."""

HALTED = "halted"
"""State shown for a tree whose source is in doubt, and for a frontend that cannot be compared because of that."""

PAUSED = "paused"
"""State shown for a frontend or a tree that an operator has paused, for a frontend that waits for such a tree, and for a tree whose
deletions wait for `resume`."""

FRONTEND_STATES = (
    *(state.value for state in State if state is not State.GONE),
    DEGRADED,
    HALTED,
    PAUSED,
)
"""All states that `shown_state` returns for a member of the fleet."""


def shown_state(replica: Replica, *, halted: bool) -> str:
    """Return the state that is shown for a frontend.

    Args:
        replica: the frontend.
        halted: True if the source of a tree is in doubt.
    """
    state = replica.state
    if replica.is_paused and state is not State.GONE:
        return PAUSED
    if halted and replica.waits_for_source:
        return HALTED
    if state is State.LIVE and replica.is_degraded:
        return DEGRADED
    return str(state.value)


def is_halted(pipelines: Iterable[Pipeline]) -> bool:
    """Return True if the source of a tree is in doubt."""
    return any(pipeline.halted for pipeline in pipelines)


def tree_state(pipeline: Pipeline) -> str:
    """Return the state that is shown for a tree."""
    states = (
        (pipeline.halted, HALTED),
        (pipeline.tree.pause or pipeline.deletions.paused, PAUSED),
        (pipeline.scanned.is_set(), "watching"),
    )
    return next((state for is_so, state in states if is_so), "scanning")
