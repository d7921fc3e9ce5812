"""Put contents into packs, and upload the packs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from replicator.base.index import Index, Place
from replicator.base.layout import pack_name
from replicator.base.prefix import Prefix
from replicator.errors import StoreError
from replicator.model import Entry, printable
from replicator.ports import Record, Source
from replicator.wire.manifest import Pack

PACK = 16 << 20
"""Bytes in a pack, at most; restic's default. A larger file is a pack of its own."""

BATCH = 4 << 20
"""Bytes of files that are read at a time."""

PART = 16 << 20
"""Bytes of a part of a large upload. S3 allows 10,000 parts, so those of a huge file are larger."""

MOST_PARTS = 10_000

Row = tuple[bytes, Entry, Place | None]


class _Held(NamedTuple):
    """A file in the pack that is being filled."""

    path: bytes
    entry: Entry
    start: int


class Packer:
    """Puts the contents of files into packs. A file that is not the recorded version any more is left out.

    Args:
        source: the files.
        prefix: where the packs go.
        index: gets the places of the contents.
        rows: called with the rows of each pack once it is in the store.
        mode_bits: the mode bits that are replicated.

    Attributes:
        left_out: number of files that had changed.
        uploaded: number of packs that were uploaded.
    """

    def __init__(
        self,
        source: Source,
        prefix: Prefix,
        index: Index,
        rows: Callable[[list[Row]], None],
    ) -> None:
        self.left_out = 0
        self.uploaded = 0
        self._source = source
        self._prefix = prefix
        self._index = index
        self._rows = rows
        self._wanted: list[Record] = []
        self._wanted_bytes = 0
        self._content = bytearray()
        self._held: list[_Held] = []
        self._starts: dict[bytes, int] = {}

    def add(self, record: Record) -> None:
        """Add a file with content, whose content is in no pack."""
        if record.entry.size > PACK:
            self._add_large(record)
            return
        self._wanted.append(record)
        self._wanted_bytes += record.entry.size
        if self._wanted_bytes >= BATCH:
            self._read()

    def finish(self) -> None:
        """Upload what is left."""
        self._read()
        self._flush()

    def _read(self) -> None:
        wanted, self._wanted, self._wanted_bytes = self._wanted, [], 0
        # Contents that were added twice, or came into a pack meanwhile, are read once.
        contents = self._source.read_whole([(one.path, one.stamp) for one in wanted])
        for record, content in zip(wanted, contents, strict=True):
            if content is None or hashlib.sha256(content).digest() != record.entry.digest:
                self.left_out += 1
            else:
                self._put(record, content)

    def _put(self, record: Record, content: bytes) -> None:
        digest = record.entry.digest
        place = self._index.find([digest]).get(digest)
        if place is not None:
            self._rows([(record.path, record.entry, place)])
            return
        start = self._starts.get(digest)
        if start is None:
            if len(self._content) + len(content) > PACK:
                self._flush()
            start = self._starts[digest] = len(self._content)
            self._content += content
        self._held.append(_Held(record.path, record.entry, start))

    def _flush(self) -> None:
        """Upload the pack that is being filled, and begin another one."""
        if not self._held:
            return
        body, held, starts = bytes(self._content), self._held, self._starts
        self._content, self._held, self._starts = bytearray(), [], {}
        pack = Pack(hashlib.sha256(body).digest(), len(body))
        if self._prefix.packs.get(pack.digest) != pack.size:  # it is there after a crash
            self._prefix.store.put(pack_name(pack.digest), body, self._prefix.pace)
            self._uploaded(pack)
        sizes = {one.start: one.entry.size for one in held}
        number = self._index.add_pack(
            pack, [(digest, start, sizes[start]) for digest, start in starts.items()]
        )
        self._rows([(one.path, one.entry, Place(number, one.start)) for one in held])

    def _add_large(self, record: Record) -> None:
        entry = record.entry
        pack = Pack(entry.digest, entry.size)
        if self._prefix.packs.get(pack.digest) != pack.size:
            try:
                self._prefix.store.put_parts(
                    pack_name(pack.digest), self._parts(record), self._prefix.pace
                )
            except _Changed:
                self.left_out += 1
                return
            self._uploaded(pack)
        number = self._index.add_pack(pack, [(entry.digest, 0, entry.size)])
        self._rows([(record.path, entry, Place(number, 0))])

    def _parts(self, record: Record) -> Iterator[bytes]:
        """Yield the parts of a large file. Raises _Changed if it is not the recorded version."""
        size = record.entry.size
        part = max(PART, -(-size // MOST_PARTS))
        sha256 = hashlib.sha256()
        for offset in range(0, size, part):
            length = min(part, size - offset)
            content = self._source.read(record.path, record.stamp, offset, length)
            if content is None:
                raise _Changed(printable(record.path))
            sha256.update(content)
            if offset + length == size and sha256.digest() != record.entry.digest:
                raise _Changed(printable(record.path))
            yield content

    def _uploaded(self, pack: Pack) -> None:
        self._prefix.packs[pack.digest] = pack.size
        self.uploaded += 1


class _Changed(StoreError):
    """Raised when a large file is not the recorded version any more; it passes through the store."""
