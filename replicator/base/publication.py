"""Publish the state of one tree: contents that the store lacks, then the manifest, then the pointer."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Protocol

import structlog

from replicator.base.index import Index, Used
from replicator.base.layout import (
    MAX_JSON,
    Damaged,
    Pointer,
    Retired,
    manifest_name,
    pointer_name,
    shown,
)
from replicator.base.packer import PACK, PART, Packer, Row
from replicator.base.prefix import Prefix
from replicator.base.published import Published, load_index, read_manifest
from replicator.errors import ProtocolError, StoreError
from replicator.model import FILE
from replicator.ports import Catalog, Record, Source
from replicator.wire.manifest import (
    MAX_STORED,
    Pack,
    decode,
    encode,
    expressible,
)

log = structlog.get_logger()

PAGE = 1000
"""Records that are read from the catalog at a time: 10 ms, after which other threads run."""

DEAD = 0.25
"""Share of dead bytes above which packs are written again."""

SMALL_PACK = 4 << 20
MOST_SMALL = 16
"""Number of packs below SMALL_PACK bytes above which they are joined: each takes a frontend a request."""

MOST_RETIRED = 5000
"""Replaced manifests that a pointer names: half of MAX_JSON. Older ones from which frontends still restore are kept by `offers`."""

_MISSING = "packs are missing in the object store"


class PublishedTree(Protocol):
    """What is read of a tree."""

    root: bytes
    source: Source
    catalog: Catalog

    @property
    def mode_bits(self) -> int:
        """The mode bits that are replicated."""


class TreeBase:
    """The base of one tree. Used by one thread.

    Args:
        tree: the tree.
        prefix: where the base is.
        directory: for the index and the manifest that is being made.
        rest: called between two steps; may wait, and may raise to end the publication.
        keep: seconds for which a manifest that was replaced is kept.

    Attributes:
        published: the newest base; None if there is none, or if it is not complete.
        left_out: files that the last publication left out because they were changing.
        uploaded: packs that the last publication uploaded.
    """

    def __init__(
        self,
        tree: PublishedTree,
        prefix: Prefix,
        directory: Path,
        rest: Callable[[], None],
        keep: float,
    ) -> None:
        self.published: Published | None = None
        self.left_out = 0
        self.uploaded = 0
        self._tree = tree
        self._prefix = prefix
        self._directory = directory
        self._rest = rest
        self._keep = keep
        self._name = pointer_name(tree.root)
        self._index: Index | None = None
        self._version: str | None = None
        self._retired: tuple[Retired, ...] = ()
        self._rewrite: set[bytes] = set()

    @property
    def wants_rewrite(self) -> bool:
        """True if so many bytes of the packs are dead, or so many packs are small, that the next publication writes some again."""
        return bool(self._rewrite)

    def publish(self) -> bool:
        """Publish the tree's present state; return False if the store has it already.

        Raises:
            StoreError: if the store fails, or another process publishes there.
            SourceError: if the catalog cannot be read.
        """
        if self._index is None:
            self._index = self._load()
        index = self._index
        index.forget_packs(self._rewrite | (index.pack_digests() - self._prefix.packs.keys()))
        self._rewrite = set()
        index.begin()
        packer = Packer(self._tree.source, self._prefix, index, index.add_rows)
        for records in self._pages():
            self._plan(index, packer, records)
            self._rest()
        packer.finish()
        self.left_out, self.uploaded = packer.left_out, packer.uploaded
        used = index.used()
        with tempfile.TemporaryFile(dir=self._directory) as file:
            changed = self._publish_manifest(index, used, file)
        self._rewrite = _worth_rewriting(used)
        return changed

    def forget(self) -> None:
        """Read the pointer and the manifest again before the next publication, because another process may have written them."""
        self.close()
        self.published = None

    def packs_listed(self) -> None:
        """Check, after the packs in the store were listed, that those of the newest base are still there."""
        if self.published and not self._prefix.has(self.published.packs):
            log.warning("base is made anew", tree=shown(self._tree.root), reason=_MISSING)
            self.published = None

    def close(self) -> None:
        """Remove the index."""
        if self._index is not None:
            self._index.close()
            self._index = None

    def _pages(self) -> Iterator[list[Record]]:
        after: bytes | None = None
        while records := self._tree.catalog.scan(after, None, PAGE):
            yield records
            after = records[-1].path

    def _plan(self, index: Index, packer: Packer, records: list[Record]) -> None:
        """Add the rows whose contents are in packs, and give the other files to the packer."""
        rows: list[Row] = []
        found = index.find([one.entry.digest for one in records if one.entry.size])
        for record in records:
            entry = record.entry
            entry = entry._replace(mode=entry.mode & self._tree.mode_bits)
            unsure = entry.kind == FILE and (record.problem or not record.stable)
            if unsure or not expressible(entry):  # the comparison brings it
                continue
            if not entry.size:
                rows.append((record.path, entry, None))
            elif entry.digest in found:
                rows.append((record.path, entry, found[entry.digest]))
            else:
                packer.add(record._replace(entry=entry))
        index.add_rows(rows)

    def _publish_manifest(self, index: Index, used: list[Used], file: IO[bytes]) -> bool:
        """Upload the manifest, then the pointer; return False if the pointer names it already."""
        table = [Pack(pack.digest, pack.size) for pack in used]
        sha256, size = hashlib.sha256(), 0
        try:
            for piece in encode(table, index.names(), index.files(used)):
                size += len(piece)
                sha256.update(piece)
                file.write(piece)
        except ValueError as error:
            raise StoreError(str(error)) from error
        if size > MAX_STORED:
            raise StoreError("the tree has too many entries for a manifest")
        digest, now = sha256.digest(), self._prefix.now()
        former = self.published
        if former is not None and former.manifest == digest:
            return False
        self._upload(manifest_name(digest), file, size)
        retired = [one for one in self._retired if one.at > now - self._keep]
        if former is not None:
            retired.append(Retired(former.manifest, now))
        kept = tuple(retired[-MOST_RETIRED:])
        pointer = Pointer(shown(self._tree.root), digest, size, now, kept)
        self._prefix.check()
        self._write_pointer(pointer)
        rows, content = index.totals()
        stored = sum(pack.size for pack in used)
        dead = stored - sum(pack.live for pack in used)
        self._retired = pointer.retired
        self.published = Published(
            digest, size, now, b"".join(pack.digest for pack in used), rows, content, stored, dead
        )
        return True

    def _write_pointer(self, pointer: Pointer) -> None:
        """Write the pointer if it still is the one that this process knows."""
        version = self._prefix.store.swap(self._name, pointer.encode(), self._version)
        if version is None:
            self.forget()
            raise StoreError(
                "the pointer in the object store was changed by another process, or by an upload that was not confirmed: it is read again"
            )
        self._version = version

    def _upload(self, name: str, file: IO[bytes], size: int) -> None:
        file.seek(0)
        if size <= PACK:
            self._prefix.store.put(name, file.read(), self._prefix.pace)
        else:
            parts = iter(lambda: file.read(PART), b"")
            self._prefix.store.put_parts(name, parts, self._prefix.pace)

    def _load(self) -> Index:
        """Return an index of what the pointer in the store names."""
        name = f"base-{self._name.rpartition('/')[2]}.sqlite"
        index = Index(self._directory / name)
        try:
            self._read_base(index)
        except BaseException:
            index.close()
            raise
        return index

    def _read_base(self, index: Index) -> None:
        self._retired, self._version = (), None
        loaded = self._prefix.store.load(self._name, MAX_JSON)
        if loaded is None:
            return
        self._version = loaded.version
        try:
            pointer = Pointer.decode(loaded.body)
            # Also if the manifest is damaged: a frontend may be restoring from an earlier one.
            self._retired = pointer.retired
            blocks = decode([read_manifest(self._prefix.store, pointer.manifest)])
            self.published = load_index(index, self._prefix.packs, pointer, blocks)
        except (Damaged, ProtocolError) as error:
            reason = str(error)
        else:
            reason = "" if self.published else _MISSING
        if reason:
            log.warning("base is made anew", tree=shown(self._tree.root), reason=reason)


def _worth_rewriting(used: list[Used]) -> set[bytes]:
    """Return the packs whose contents should be packed again: with many dead bytes, or small."""
    stored = sum(pack.size for pack in used)
    found = set()
    if stored - sum(pack.live for pack in used) > DEAD * stored:
        found |= {pack.digest for pack in used if pack.size - pack.live >= DEAD * pack.size}
    small = {pack.digest for pack in used if pack.size < SMALL_PACK}
    return found | (small if len(small) >= MOST_SMALL else set())
