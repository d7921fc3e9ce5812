"""The answer to `status`: JSON values made from the present state of the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from replicator import __version__
from replicator.core.lifecycle import State
from replicator.engine.control.health import Tolerance, is_ok
from replicator.engine.frontend.progress import Progress
from replicator.engine.frontend.replica import Replica
from replicator.engine.ingest.pipeline import Pipeline
from replicator.model import printable
from replicator.ports import Decision

DEGRADED = "degraded"
"""State shown for a live frontend that refuses a path, cannot be sent one, or has paths that should not exist."""

HALTED = "halted"
"""State shown for a frontend that cannot be compared because the source of a tree is in doubt."""


def describe_frontend(replica: Replica, *, halted: bool, launch: str = "") -> dict[str, Any]:
    """Return one frontend's row.

    Args:
        replica: the frontend.
        halted: True if the source of a tree is in doubt.
        launch: the state of its launch hook; empty if it has none.
    """
    now = asyncio.get_running_loop().time()
    return {
        "host": replica.address.host,
        "port": replica.address.port,
        "user": replica.address.user,
        "state": shown_state(replica, halted=halted),
        "source": replica.candidate.source,
        "instance_id": replica.candidate.identity,
        "discovery_state": replica.candidate.state,
        "draining": replica.candidate.decision is Decision.DRAIN,
        "launch": launch,
        "ready": replica.ready,
        "dirty": len(replica.dirty) if replica.is_counted else None,
        "lag_seconds": _lag(replica, now),
        "queue_position": replica.queue_position,
        "files_sent": replica.files_sent,
        "deletions_sent": replica.deletions_sent,
        "bytes_sent": replica.bytes_sent,
        "bytes_saved": replica.dispatch.bytes_saved,
        "logins": replica.logins,
        "reconciles": replica.full_comparisons,
        "agent": replica.about,
        "progress": describe_progress(replica.progress, now),
        "last_error": replica.last_error,
        "excess": replica.errors.surplus_kept,
        "unlisted": replica.errors.unlisted,
        "problems": [
            {"path": printable(key.path), "reason": reason}
            for key, reason in replica.dirty.problems(10)
        ],
    }


def shown_state(replica: Replica, *, halted: bool) -> str:
    """Return the state that is shown for a frontend."""
    state = replica.state
    if halted and replica.waits_for_source:
        return HALTED
    if state is State.LIVE and replica.is_degraded:
        return DEGRADED
    return str(state.value)


def _lag(replica: Replica, now: float) -> float | None:
    """Return for how many seconds the oldest dirty path has been dirty; None while the dirty paths are unknown."""
    oldest = replica.dirty.oldest()
    if not replica.is_counted:
        return None
    return round(now - oldest, 3) if oldest is not None else 0.0


def describe_progress(progress: Progress, now: float) -> dict[str, Any]:
    """Return the progress of a comparison. `eta_seconds` is None if it is unknown, `seconds` until the comparison has ended."""
    elapsed = max(1e-9, (now if progress.ended is None else progress.ended) - progress.started)
    rate = progress.bytes_done / elapsed if progress.started else 0.0
    left = progress.bytes_total - progress.bytes_done
    return {
        "files_done": progress.files_done,
        "files_total": progress.files_total,
        "bytes_done": progress.bytes_done,
        "bytes_total": progress.bytes_total,
        "bytes_per_second": round(rate),
        "eta_seconds": round(left / rate, 1) if rate and progress.ended is None else None,
        "seconds": round(elapsed, 3) if progress.ended is not None else None,
    }


def describe_tree(pipeline: Pipeline, counts: tuple[int, int]) -> dict[str, Any]:
    """Return one tree's row.

    Args:
        pipeline: the pipeline of the tree.
        counts: entries and bytes in its catalog.
    """
    tree = pipeline.tree
    held = pipeline.deletions.held + (pipeline.deletions.unsent or 0)
    states = (
        (pipeline.halted, "halted"),
        (pipeline.deletions.paused, "paused"),
        (pipeline.scanned.is_set(), "watching"),
    )
    state = next((state for is_so, state in states if is_so), "scanning")
    return {
        "source": printable(tree.root),
        "state": state,
        "entries": counts[0],
        "bytes": counts[1],
        "bytes_read": tree.source.bytes_read,
        "files_hashed": tree.source.files_hashed,
        "overflows": pipeline.overflows,
        "pending": pipeline.pending + (pipeline.deletions.unsent or 0),
        "lag_seconds": round(pipeline.overdue, 3),
        "held_deletions": None if pipeline.deletions.unsent is None else held,
        "problems": pipeline.problems(),
        "unreadable": [printable(path) for path in pipeline.unreadable()],
    }


def describe(
    replicas: Iterable[Replica],
    trees: Iterable[tuple[Pipeline, tuple[int, int]]],
    launch: Callable[[str], str],
    tolerance: Tolerance,
    **more: Any,  # noqa: ANN401  # JSON values
) -> dict[str, Any]:
    """Return the whole status; for `ok` see `engine.control.health`."""
    trees = list(trees)
    halted = any(pipeline.halted for pipeline, _ in trees)
    status = {
        "version": __version__,
        "frontends": [
            describe_frontend(replica, halted=halted, launch=launch(replica.candidate.identity))
            for replica in replicas
        ],
        "trees": [describe_tree(pipeline, counts) for pipeline, counts in trees],
        **more,
    }
    return {"ok": is_ok(status, tolerance), **status}
