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
from replicator.wire.manifest import Pack, decode

log = structlog.get_logger()


BATCH = 1000
"""Objects that are removed before it is checked again that this process still is the writer: those of one request."""


class Pruned(NamedTuple):
    """What was removed: number of objects, and their bytes."""

    objects: int
    bytes: int


def prune(
    prefix: Prefix,
    tables: dict[bytes, bytes],
    in_use: Collection[bytes],
    keep: float,
    configured: Collection[str] | None = None,
) -> Pruned:
    """Remove what no restore can ask for any more.

    Args:
        prefix: the store.
        tables: packs of known manifests, by the manifest's digest; manifests that are read are added, those removed are dropped.
        in_use: manifests from which frontends may be restoring now.
        keep: seconds for which a manifest that was replaced is kept.
        configured: names of the pointers of all replicated trees: the others are removed; None: all are kept.

    Raises:
        StoreError: if it is not known what must be kept; then nothing is removed. Or if the store fails.
    """
    now = prefix.now()
    if now - prefix.since < keep and prefix.took_over:
        return Pruned(0, 0)  # the other backend may still write a pointer to what looks unused
    live = set(in_use)
    if configured is not None:
        unused = [one.name for one in prefix.store.list(TREES) if one.name not in configured]
        prefix.check()
        prefix.store.delete(unused)
    for pointer in _pointers(prefix):
        live.add(pointer.manifest)
        live |= {one.manifest for one in pointer.retired if one.at > now - keep}
    needed = _packs_of(prefix, tables, live)
    sizes = {}
    manifests = []
    for stored in list(prefix.store.list(MANIFESTS)):
        digest = digest_in(stored.name)
        if digest is not None and digest not in live and stored.modified < now - keep:
            manifests.append(digest)
            sizes[stored.name] = stored.size
    modified = prefix.list_packs()
    packs = [d for d, at in modified.items() if d not in needed and at < now - keep]
    sizes |= {pack_name(digest): prefix.packs[digest] for digest in packs}
    prefix.check()
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


def _pointers(prefix: Prefix) -> Iterator[Pointer]:
    for stored in list(prefix.store.list(TREES)):
        data = prefix.store.get(stored.name, MAX_JSON)
        if data is not None:
            yield Pointer.decode(data)


def _packs_of(prefix: Prefix, tables: dict[bytes, bytes], manifests: Iterable[bytes]) -> set[bytes]:
    """Return the packs of manifests. Raises StoreError if one cannot be read."""
    needed: set[bytes] = set()
    for manifest in manifests:
        if manifest not in tables:
            tables[manifest] = _table(prefix, manifest)
        needed.update(digests_in(tables[manifest]))
    return needed


def _table(prefix: Prefix, manifest: bytes) -> bytes:
    """Return the packs of a manifest in the store; none if the manifest is gone, because nobody can restore from it."""
    try:
        data = read_manifest(prefix.store, manifest)
    except Damaged:
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
