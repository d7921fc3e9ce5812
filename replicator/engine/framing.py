"""Findings as parcels: whole small files and names in batches, in a safe order; what builds on a version apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from replicator.core.debts import Key
from replicator.core.plan import safe_order
from replicator.delta.ops import Literal
from replicator.engine.findings import Findings, Update
from replicator.engine.parcel import (
    INLINE_LIMIT,
    Parcel,
    Part,
    adopt,
    batches,
    change_for,
    file_parcel,
    gone,
    moved,
    next_number,
    put_file,
    single,
)
from replicator.model import FILE
from replicator.wire.changes import Change


def frame(tree: int, found: Findings) -> Iterator[Parcel]:
    """Yield what was found as parcels, in an order in which each can succeed.

    Args:
        tree: the tree's number.
        found: what changed, and what is gone.
    """
    plain: list[tuple[Change, bytes]] = []
    special: list[Parcel] = []
    for update in found.updates:
        framed = _frame_update(tree, update)
        if isinstance(framed, Parcel):
            special.append(framed)
        else:
            plain.append(framed)
    plain.extend((gone(tree, path), b"") for path in found.gone)
    contents = {change.number: content for change, content in plain}
    ordered = safe_order([change for change, _ in plain])
    yield from batches((change, contents[change.number]) for change in ordered)
    yield from special


def frame_move(
    tree: int, source: bytes, target: bytes, in_the_way: Sequence[bytes]
) -> Iterator[Parcel]:
    """Yield a rename, after the deletion of what stands in its way."""
    yield from batches((gone(tree, path), b"") for path in in_the_way)
    yield single(moved(tree, source, target))


def _frame_update(tree: int, update: Update) -> Parcel | tuple[Change, bytes]:
    record = update.record
    path, entry = record.path, record.entry
    if record.problem or (entry.digest and update.ops is None and not update.same_content):
        return Parcel((), (Part(0, Key(tree, path)),))
    if update.same_content and update.before is not None:
        change = adopt(tree, path, entry, content=False)
        return single(change._replace(old_mtime_ns=update.before.entry.mtime_ns))
    if entry.kind != FILE:
        return change_for(tree, path, entry), b""
    put = put_file(next_number(), tree, path, entry)
    ops = update.ops or []
    if not update.is_delta and entry.size <= INLINE_LIMIT:
        return put, b"".join(op.data for op in ops if isinstance(op, Literal))
    return file_parcel(put, ops, delta=update.is_delta)
