"""Encodes a ScanResult: names and complete small files in batches, in a safe order; large files and deltas one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from replicator.core.pending import Key
from replicator.core.plan import safe_order
from replicator.delta.ops import Literal
from replicator.engine.changes.create import (
    attributes_change,
    change_for,
    delete_change,
    link_change,
    move_change,
    next_number,
    put_change,
)
from replicator.engine.changes.encode import (
    INLINE_LIMIT,
    ChangeRef,
    EncodedChanges,
    encode_batches,
    encode_file,
    encode_links,
    encode_update,
)
from replicator.engine.ingest.scan_result import ScanResult, Update
from replicator.model import FILE
from replicator.wire.changes import Change, Link, MakeDirectory


def encode(tree: int, found: ScanResult, *, compress: bool = False) -> Iterator[EncodedChanges]:
    """Yield the changes of a result, in an order in which each can succeed.

    Args:
        tree: the tree's number.
        found: the result.
        compress: compress contents where that makes them smaller.
    """
    plain: list[tuple[Change, bytes]] = []
    special: list[EncodedChanges] = []
    early: list[Link] = []
    late: list[Link] = []
    for update in found.updates:
        if update.same_content_as:
            record = update.record
            link = link_change(
                tree, record.path, record.entry, update.same_content_as, copy=update.both_stay
            )
            (late if update.fresh else early).append(link)
            continue
        encoded = _encode_update(tree, update, compress=compress)
        if isinstance(encoded, EncodedChanges):
            special.append(encoded)
        else:
            plain.append(encoded)
    if early:  # before the files that they are linked to change, but after their directories exist
        directories = [one for one in plain if isinstance(one[0], MakeDirectory)]
        plain = [one for one in plain if not isinstance(one[0], MakeDirectory)]
        yield from _ordered(directories, compress=False)
        yield from encode_links(early)
    plain.extend((delete_change(tree, path), b"") for path in found.gone)
    yield from _ordered(plain, compress=compress)
    yield from special
    yield from encode_links(late)


def _ordered(
    changes: Sequence[tuple[Change, bytes]], *, compress: bool
) -> Iterator[EncodedChanges]:
    contents = {change.number: content for change, content in changes}
    ordered = safe_order([change for change, _ in changes])
    items = ((change, contents[change.number]) for change in ordered)
    return encode_batches(items, compress=compress)


def encode_move(tree: int, source: bytes, target: bytes) -> EncodedChanges:
    """Return the rename of a directory to an unused name."""
    return encode_update(move_change(tree, source, target))


def _encode_update(
    tree: int, update: Update, *, compress: bool
) -> EncodedChanges | tuple[Change, bytes]:
    record = update.record
    path, entry = record.path, record.entry
    if record.problem or (entry.digest and update.ops is None and not update.is_content_unchanged):
        return EncodedChanges((), (ChangeRef(0, Key(tree, path)),))
    if update.is_content_unchanged and update.before is not None:
        change = attributes_change(tree, path, entry, content=False)
        return encode_update(change._replace(old_mtime_ns=update.before.entry.mtime_ns))
    if entry.kind != FILE:
        return change_for(tree, path, entry), b""
    put = put_change(next_number(), tree, path, entry)
    ops = update.ops or []
    if not update.is_delta and entry.size <= INLINE_LIMIT:
        return put, b"".join(op.data for op in ops if isinstance(op, Literal))
    return encode_file(put, ops, delta=update.is_delta, compress=compress)
