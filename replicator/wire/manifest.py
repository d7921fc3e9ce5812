"""The manifest of a base: the state of one tree at one time, and where the contents of its files are in an object store.

The contents lie in **packs**: objects that hold whole files one after the other. The first rows of a manifest are the directories, the
symlinks and the empty files, in key order. All other files follow in the order in which they lie in the packs, so that a reader that
fetches pack after pack needs memory for one block only.

The format: MAGIC, then one zlib stream of blocks. A block is a kind (one byte), a length (unsigned 32 bits) and columns; all numbers
are little-endian. The kinds, in this order:

* `P`: a part of the table of packs: digests of the objects, their sizes;
* `N`: rows without content: kinds, modes, times, paths, link targets;
* `F`: files in one pack: modes, times, sizes, offsets, digests, paths;
* `E`: the end: the number of rows, and the bytes of all files.

The decoder raises nothing but ProtocolError. It inflates piece by piece, and bounds each block and the whole.
"""

from __future__ import annotations

import struct
from typing import Any, Iterable, Iterator, NamedTuple, Sequence, Union

from replicator.errors import PathRefused, ProtocolError
from replicator.model import DIRECTORY, FILE, SYMLINK, Entry, check_path, key
from replicator.wire.blocks import Columns, column, deflated, inflated
from replicator.wire.fields import DIGEST_SIZE, MAX_FILE

MAGIC = b"replicator manifest 1\n"

EMPTY_DIGEST = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
"""SHA-256 of no bytes."""

MAX_STORED = 1 << 30
"""Bytes in a manifest as it is stored; one of 20,000 files takes 1 MB."""

ROWS = 4096
"""Rows in a block. The encoder also ends a block after TEXT bytes of paths and link targets."""

TEXT = 1 << 20

MAX_PACKS = 1 << 20
"""Packs in the table: 16 TiB in packs of 16 MiB."""

_NAMES = struct.Struct("<III")  # rows, bytes of paths, bytes of link targets
_FILES = struct.Struct("<III")  # pack, rows, bytes of paths
_END = struct.Struct("<QQ")


class Pack(NamedTuple):
    """An object that holds contents: the SHA-256 and the number of its bytes."""

    digest: bytes
    size: int


class Named(NamedTuple):
    """A row without content: a directory, a symlink or an empty file."""

    path: bytes
    entry: Entry


class Placed(NamedTuple):
    """A row with content: a file whose bytes begin at `offset` in the pack with the index `pack`."""

    path: bytes
    entry: Entry
    pack: int
    offset: int


class Totals(NamedTuple):
    """The end of a manifest: the number of its rows, and the bytes of all its files."""

    rows: int
    content: int


Block = Union[list[Pack], list[Named], list[Placed], Totals]


def expressible(entry: Entry) -> bool:
    """Return True if a manifest can hold an entry: its time fits into 64 bits, and the digest of a file is known."""
    if not -(1 << 63) <= entry.mtime_ns < 1 << 63:
        return False
    return entry.kind != FILE or (len(entry.digest) == DIGEST_SIZE and entry.size <= MAX_FILE)


def encode(
    packs: Sequence[Pack], names: Iterable[Named], files: Iterable[Placed]
) -> Iterator[bytes]:
    """Yield the pieces of a manifest. Equal arguments give equal bytes.

    Args:
        packs: the table of packs.
        names: the rows without content, in key order.
        files: the rows with content, in the order of pack, offset and key.

    Raises:
        ValueError: if the manifest exceeds MAX_INFLATED or MAX_PACKS.
    """
    if len(packs) > MAX_PACKS:
        raise ValueError("the tree needs too many packs for a manifest")
    yield MAGIC
    yield from deflated(_blocks(packs, names, files))


def decode(pieces: Iterable[bytes]) -> Iterator[Block]:
    """Yield the blocks of a manifest: lists of packs, lists of rows without content, lists of files in one pack, at last the totals.

    Paths and link targets are checked as on the wire. Each file lies inside its pack.

    Args:
        pieces: the manifest's bytes, cut anywhere.

    Raises:
        ProtocolError: if the manifest is malformed, inconsistent, cut off or too large.
    """
    blocks = _Decoder()
    totals: Totals | None = None
    for kind, body in inflated(MAGIC, pieces):
        if totals is not None:
            raise ProtocolError("the manifest goes on after its end")
        try:
            block = blocks.decode(kind, body)
        except struct.error:
            raise ProtocolError("a block of the manifest is shorter than its columns") from None
        if isinstance(block, Totals):
            totals = block
        yield block
    if totals is None:
        raise ProtocolError("the manifest is cut off")


def _blocks(
    packs: Sequence[Pack], names: Iterable[Named], files: Iterable[Placed]
) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind and the columns of each block."""
    rows = content = 0
    for first in range(0, len(packs), ROWS):
        digests, sizes = zip(*packs[first : first + ROWS])
        yield b"P", b"".join(digests) + column("Q", sizes)
    for group in _groups(names):
        rows += len(group)
        yield b"N", _names_columns(group)
    for group in _groups(files):
        rows += len(group)
        content += sum(row.entry.size for row in group)
        yield b"F", _files_columns(group)
    yield b"E", _END.pack(rows, content)


def _groups(rows: Iterable[Any]) -> Iterator[list[Any]]:
    """Divide rows into those of one block each."""
    group: list[Any] = []
    text, pack = 0, -1
    for row in rows:
        its = row.pack if isinstance(row, Placed) else -1
        if group and (len(group) == ROWS or text >= TEXT or its != pack):
            yield group
            group, text = [], 0
        pack = its
        text += len(row.path) + len(row.entry.link)
        group.append(row)
    if group:
        yield group


def _names_columns(rows: list[Named]) -> bytes:
    entries = [row.entry for row in rows]
    paths = b"\0".join(row.path for row in rows)
    links = b"\0".join(entry.link for entry in entries)
    columns = (
        _NAMES.pack(len(rows), len(paths), len(links)),
        "".join(entry.kind for entry in entries).encode(),
        column("H", [entry.mode for entry in entries]),
        column("q", [entry.mtime_ns for entry in entries]),
    )
    return b"".join((*columns, paths, links))


def _files_columns(rows: list[Placed]) -> bytes:
    entries = [row.entry for row in rows]
    paths = b"\0".join(row.path for row in rows)
    columns = (
        _FILES.pack(rows[0].pack, len(rows), len(paths)),
        column("H", [entry.mode for entry in entries]),
        column("q", [entry.mtime_ns for entry in entries]),
        column("Q", [entry.size for entry in entries]),
        column("Q", [row.offset for row in rows]),
        *(entry.digest for entry in entries),
    )
    return b"".join((*columns, paths))


class _Decoder:
    """Decodes blocks, and checks their order."""

    def __init__(self) -> None:
        self._packs: list[Pack] = []
        self._order = b"P"
        self._last: tuple[Any, ...] = ()
        self._rows = self._content = 0

    def decode(self, kind: bytes, body: bytes) -> Block:
        order = b"PNFE"
        if kind not in order or order.index(kind) < order.index(self._order):
            raise ProtocolError("the blocks of the manifest are not in order")
        if kind != self._order:
            self._order, self._last = kind, ()
        if kind == b"P":
            return self._more_packs(body)
        if kind == b"N":
            return self._names(body)
        if kind == b"F":
            return self._files(body)
        return self._totals(body)

    def _more_packs(self, body: bytes) -> list[Pack]:
        count, rest = divmod(len(body), DIGEST_SIZE + 8)
        columns = Columns(body, 0)
        digests = columns.data(count * DIGEST_SIZE)
        sizes = columns.numbers(count, "Q")
        if rest or not count or max(sizes) > MAX_FILE or len(self._packs) + count > MAX_PACKS:
            raise ProtocolError("the table of packs is malformed")
        found = [
            Pack(digests[i * DIGEST_SIZE : (i + 1) * DIGEST_SIZE], size)
            for i, size in enumerate(sizes)
        ]
        self._packs += found
        return found

    def _names(self, body: bytes) -> list[Named]:
        count, size, links_size = _NAMES.unpack_from(body)
        columns = Columns(body, _NAMES.size)
        kinds = columns.data(count).decode("latin-1")
        modes = columns.numbers(count, "H")
        times = columns.numbers(count, "q")
        paths = columns.texts(count, size)
        links = columns.texts(count, links_size)
        columns.end()
        found = []
        for kind, mode, time, path, link in zip(kinds, modes, times, paths, links):
            digest = EMPTY_DIGEST if kind == FILE else b""
            found.append(Named(path, Entry(kind, mode, 0, time, link, digest)))
            self._check(path, mode, (key(path),))
            if (
                kind not in (FILE, DIRECTORY, SYMLINK)
                or len(link) > 4096
                or (kind == SYMLINK) != bool(link)
            ):
                raise ProtocolError("a row of the manifest is malformed")
        self._rows += count
        return found

    def _files(self, body: bytes) -> list[Placed]:
        pack, count, size = _FILES.unpack_from(body)
        if pack >= len(self._packs):
            raise ProtocolError("a block of the manifest names no pack of its table")
        columns = Columns(body, _FILES.size)
        modes = columns.numbers(count, "H")
        times = columns.numbers(count, "q")
        sizes = columns.numbers(count, "Q")
        offsets = columns.numbers(count, "Q")
        digests = columns.data(count * DIGEST_SIZE)
        paths = columns.texts(count, size)
        columns.end()
        found = []
        for i, (path, mode, size, offset) in enumerate(zip(paths, modes, sizes, offsets)):
            digest = digests[i * DIGEST_SIZE : (i + 1) * DIGEST_SIZE]
            found.append(Placed(path, Entry(FILE, mode, size, times[i], b"", digest), pack, offset))
            self._check(path, mode, (pack, offset, key(path)))
            if not size or offset + size > self._packs[pack].size:
                raise ProtocolError("a file of the manifest is not inside its pack")
        self._rows += count
        self._content += sum(sizes)
        return found

    def _check(self, path: bytes, mode: int, position: tuple[Any, ...]) -> None:
        try:
            check_path(path)
        except PathRefused as error:
            raise ProtocolError(str(error)) from None
        if mode > 0o7777 or position <= self._last:
            raise ProtocolError("a row of the manifest is malformed or not in order")
        self._last = position

    def _totals(self, body: bytes) -> Totals:
        if len(body) != _END.size or _END.unpack(body) != (self._rows, self._content):
            raise ProtocolError("the manifest does not have as many rows as its end says")
        return Totals(self._rows, self._content)
