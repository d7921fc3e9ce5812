"""What a tree's base in the store is: its description, and how it is read again after a start."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from replicator.base.index import Index
from replicator.base.layout import Damaged, Pointer, manifest_name
from replicator.ports import ObjectStore
from replicator.wire.manifest import MAX_STORED, Block, Pack, Placed, Totals


class Published(NamedTuple):
    """The newest base of a tree, which is complete in the store.

    Attributes:
        manifest: digest of the manifest.
        size: bytes of the manifest.
        when: when it was published, in seconds since the epoch.
        packs: digests of its packs, 32 bytes each, in the order of its table.
        rows: its entries.
        content: bytes of all its files.
        stored: bytes of its packs.
        dead: bytes of its packs that no row uses.
    """

    manifest: bytes
    size: int
    when: float
    packs: bytes
    rows: int
    content: int
    stored: int
    dead: int


def read_manifest(store: ObjectStore, digest: bytes) -> bytes:
    """Return the bytes of a manifest. Raises Damaged if it is missing or has other bytes, StoreError if it cannot be read."""
    data = store.get(manifest_name(digest), MAX_STORED)
    if data is None or hashlib.sha256(data).digest() != digest:
        raise Damaged("a manifest in the object store is missing or damaged")
    return data


def load_index(
    index: Index, complete: Mapping[bytes, int], pointer: Pointer, blocks: Iterator[Block]
) -> Published | None:
    """Record the packs and contents of a manifest; return its description, or None if a pack is not complete."""
    table: list[Pack] = []
    totals = Totals(0, 0)
    live = 0
    last: Placed | None = None
    for block in blocks:
        if isinstance(block, Totals):
            totals = block
        elif isinstance(block[0], Pack):
            table += block
        elif isinstance(block[0], Placed):
            placed: list[Placed] = block
            pack = table[placed[0].pack]
            if complete.get(pack.digest) == pack.size:
                index.add_pack(pack, [(r.entry.digest, r.offset, r.entry.size) for r in placed])
            for row in placed:
                if last is None or (row.pack, row.offset) != (last.pack, last.offset):
                    live += row.entry.size
                last = row
    stored = sum(pack.size for pack in table)
    if any(complete.get(pack.digest) != pack.size for pack in table):
        return None
    packs = b"".join(pack.digest for pack in table)
    rows, content = totals
    return Published(
        pointer.manifest, pointer.size, pointer.when, packs, rows, content, stored, stored - live
    )
