"""The answer to `status`: JSON values made from the present state of the engine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from replicator import __version__
from replicator.engine.control.health import Tolerance, is_ok
from replicator.engine.control.history import History
from replicator.engine.control.shown import HALTED, is_halted, shown_state, tree_state
from replicator.engine.frontend.progress import Progress
from replicator.engine.frontend.replica import Replica
from replicator.engine.frontend.state import RestoreResult
from replicator.engine.ingest.pipeline import Pipeline
from replicator.engine.loop import Pauses, loop_time
from replicator.model import printable
from replicator.ports import Decision

WAITS_FOR_TREE = "it waits to be compared with a tree that is halted"

SAMPLES = 5
"""Held deletions that are shown by name."""


def describe_frontend(replica: Replica, *, halted: bool, launch: str = "") -> dict[str, Any]:
    """Return one frontend's row.

    Args:
        replica: the frontend.
        halted: True if the source of a tree is in doubt.
        launch: the state of its launch hook; empty if it has none.
    """
    now = loop_time()
    state = shown_state(replica, halted=halted)
    return {
        "host": replica.address.host,
        "port": replica.address.port,
        "user": replica.address.user,
        "state": state,
        "paused": replica.pause.row() if replica.pause else None,
        "source": replica.candidate.source,
        "instance_id": replica.candidate.identity,
        "discovery_state": replica.candidate.state,
        "draining": replica.candidate.decision is Decision.DRAIN,
        "launch": launch,
        "ready": replica.ready,
        "connected": replica.connection is not None,
        "dirty": len(replica.dirty) if replica.is_counted else None,
        "lag_seconds": _lag(replica, now),
        "queue_position": replica.queue_position,
        "files_sent": replica.files_sent,
        "deletions_sent": replica.deletions_sent,
        "refusals": dict(replica.refusals),
        "bytes_sent": replica.bytes_sent,
        "bytes_saved": replica.bytes_saved,
        "logins": replica.logins,
        "failures": replica.failures,
        "reconciles": replica.full_comparisons,
        "agent": replica.about,
        "progress": describe_progress(replica.progress, now),
        "restored": describe_restored(replica.restored.values()),
        "last_error": replica.last_error or (WAITS_FOR_TREE if state == HALTED else ""),
        "excess": replica.errors.surplus_kept,
        "unlisted": replica.errors.unlisted,
        "verified": replica.verified.row() if replica.verified else None,
        "problems": [
            {"path": printable(key.path), "reason": reason}
            for key, reason in replica.dirty.problems(10)
        ],
    }


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


def describe_restored(results: Collection[RestoreResult]) -> dict[str, Any] | None:
    """Return what was restored from the base, in all trees; None if nothing was."""
    if not results:
        return None
    return {
        "files": sum(each.files for each in results),
        "bytes": sum(each.content for each in results),
        "failed": sum(each.failed for each in results),
        "seconds": round(sum(each.seconds for each in results), 3),
        "error": next((each.error for each in results if each.error), ""),
    }


def describe_tree(pipeline: Pipeline, counts: tuple[int, int]) -> dict[str, Any]:
    """Return one tree's row.

    Args:
        pipeline: the pipeline of the tree.
        counts: entries and bytes in its catalog.
    """
    tree = pipeline.tree
    held = pipeline.deletions.held + (pipeline.deletions.unsent or 0)
    return {
        "source": printable(tree.root),
        "state": tree_state(pipeline),
        "paused": tree.pause.row() if tree.pause else None,
        "entries": counts[0],
        "bytes": counts[1],
        "bytes_read": tree.source.bytes_read,
        "files_hashed": tree.source.files_hashed,
        "overflows": pipeline.overflows,
        "pending": pipeline.pending + (pipeline.deletions.unsent or 0),
        "lag_seconds": round(pipeline.overdue, 3),
        "held_deletions": None if pipeline.deletions.unsent is None else held,
        "held_samples": [printable(path) for path in pipeline.deletions.samples(SAMPLES)],
        "watches": pipeline.watches[0],
        "problems": pipeline.problems(),
        "unreadable": [printable(path) for path in pipeline.rechecks.unreadable_paths()],
    }


async def describe(
    replicas: Iterable[Replica],
    trees: Iterable[tuple[Pipeline, tuple[int, int]]],
    launch: Callable[[str], str],
    tolerance: Tolerance,
    history: History,
    **more: Any,  # noqa: ANN401  # JSON values
) -> dict[str, Any]:
    """Return the whole status; for `ok` see `engine.control.health`."""
    trees = list(trees)
    halted = is_halted(pipeline for pipeline, _ in trees)
    pauses = Pauses()
    frontends = []
    for replica in replicas:
        row = describe_frontend(replica, halted=halted, launch=launch(replica.candidate.identity))
        row["since"] = history.since(replica, row["state"])
        row["in_sync_at"] = history.in_sync(replica)
        frontends.append(row)
        await pauses.pause()
    rows = []
    for pipeline, counts in trees:
        rows.append(row := describe_tree(pipeline, counts))
        row["since"] = history.since(pipeline, row["state"])
    status = {"version": __version__, "frontends": frontends, "trees": rows, **more}
    return {"ok": is_ok(status, tolerance), **status}
