"""Remove from the store what no restore can ask for any more.

Kept is: what a pointer names; manifests that were replaced less than KEEP seconds ago, and those that are in use, with their packs; and
everything that was written less than KEEP seconds ago, because it may belong to a publication of another process that has just lost its
claim. The same thread publishes, so that no publication is running.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

import structlog

from replicator.base.layout import (
    MANIFESTS,
    MAX_JSON,
    TREES,
    Damaged,
    Pointer,
    digest_in,
    digests_in,
    manifest_name,
    pack_name,
)
from replicator.base.prefix import Prefix
from replicator.base.published import read_manifest
from replicator.errors import ProtocolError, StoreError
from replicator.wire.manifest import MAX_STORED, Pack, decode

log = structlog.get_logger()


BATCH = 1000
"""Objects that are removed before it is checked again that this process still is the writer: those of one request."""


class Pruned(NamedTuple):
    """What was removed: number of objects, and their bytes; `skipped`: why nothing was examined."""

    objects: int
    bytes: int
    skipped: str = ""


def prune(
    prefix: Prefix,
    tables: dict[bytes, bytes],
    in_use: Collection[bytes],
    keep: float,
    configured: Collection[str] | None = None,
    known: Collection[str] = (),
) -> Pruned:
    """Remove what no restore can ask for any more.

    Args:
        prefix: the store.
        tables: packs of known manifests, by the manifest's digest; manifests that are read are added, those removed are dropped.
        in_use: manifests from which frontends may be restoring now.
        keep: seconds for which a manifest that was replaced is kept.
        configured: names of the pointers of all replicated trees: the others are removed; None: all are kept.
        known: names of pointers that are looked for even if the store does not list them.

    Raises:
        StoreError: if it is not known what must be kept; then nothing is removed. Or if the store fails.
    """
    now = prefix.now()
    if now - prefix.since < keep and prefix.took_over:
        return Pruned(0, 0, "another backend wrote here until recently, and may still write")
    live = set(in_use)
    unused = []
    for name, data in _pointers(prefix, known):
        if configured is not None and name not in configured:
            unused.append(name)
            continue
        pointer = Pointer.decode(data)
        live.add(pointer.manifest)
        live |= {one.manifest for one in pointer.retired if one.at > now - keep}
    listed = list(prefix.store.list(MANIFESTS))
    needed = _packs_of(prefix, tables, live, {digest_in(stored.name) for stored in listed})
    sizes = {}
    manifests = []
    for stored in listed:
        digest = digest_in(stored.name)
        if digest is not None and digest not in live and stored.modified < now - keep:
            manifests.append(digest)
            sizes[stored.name] = stored.size
    modified = prefix.list_packs()
    packs = [d for d, at in modified.items() if d not in needed and at < now - keep]
    sizes |= {pack_name(digest): prefix.packs[digest] for digest in packs}
    prefix.check()
    prefix.store.delete(unused)
    prefix.forget(packs)  # before they are deleted, so that no publication relies on them
    for digest in manifests:
        tables.pop(digest, None)
    names = [*map(manifest_name, manifests), *map(pack_name, packs)]
    for first in range(0, len(names), BATCH):
        if first:
            prefix.check()
        prefix.store.delete(names[first : first + BATCH])
    prefix.store.abort_uploads(now - keep)
    return Pruned(len(sizes), sum(sizes.values()))


def _pointers(prefix: Prefix, known: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the names and contents of all pointers. Raises StoreError if the list of them lacks one that exists, or names one that does not."""
    listed = {stored.name for stored in prefix.store.list(TREES)}
    for name in sorted(listed.union(known)):
        data = prefix.store.get(name, MAX_JSON)
        if (data is None) == (name in listed):
            raise StoreError(
                f"the object store's list of {TREES} contradicts its answer for {name}"
            )
        if data is not None:
            yield name, data


def _packs_of(
    prefix: Prefix,
    tables: dict[bytes, bytes],
    manifests: Iterable[bytes],
    listed: Collection[bytes | None],
) -> set[bytes]:
    """Return the packs of manifests. Raises StoreError if one cannot be read, or is listed and not found."""
    needed: set[bytes] = set()
    for manifest in manifests:
        if manifest not in tables:
            tables[manifest] = _table(prefix, manifest, is_listed=manifest in listed)
        needed.update(digests_in(tables[manifest]))
    return needed


def _table(prefix: Prefix, manifest: bytes, *, is_listed: bool) -> bytes:
    """Return the packs of a manifest in the store; none if the manifest is gone or damaged: nobody can restore from it."""
    try:
        data = read_manifest(prefix.store, manifest)
    except Damaged:
        name = manifest_name(manifest)
        if is_listed and prefix.store.get(name, MAX_STORED) is None:
            raise StoreError(
                f"the object store's list contradicts its answer for {name}: not found"
            ) from None
        return b""
    packs = []
    try:
        for block in decode([data]):
            if isinstance(block, list) and isinstance(block[0], Pack):
                packs += [pack.digest for pack in block]
            else:
                break
    except ProtocolError as error:
        raise StoreError(f"a manifest in the object store cannot be read: {error}") from error
    return b"".join(packs)
