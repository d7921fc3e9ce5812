"""The messages of the wire protocol.

Each message is a NamedTuple whose `header()` returns the header of its frame. `decode` turns a header back into a message, or
raises ProtocolError. This module has the messages about changes; `hello`, `opening`, `listings`, `digests`, `restoring` and `sums` have
the others.
"""

from __future__ import annotations

from typing import Any, Callable, NamedTuple, Union

from replicator.errors import ProtocolError
from replicator.wire import fields
from replicator.wire.changes import FAILED, REASONS, Change, PutFile, change_row, parse_change
from replicator.wire.digests import (
    Descend,
    Digests,
    DigestTree,
    parse_descend,
    parse_digest,
    parse_digests,
)
from replicator.wire.hello import FEATURES, REQUIRED, VERSION, Hello, parse_hello
from replicator.wire.listings import (
    Listing,
    ListTree,
    More,
    parse_list,
    parse_listing,
    parse_more,
)
from replicator.wire.opening import (
    Opened,
    OpenTree,
    Origin,
    Sources,
    parse_open,
    parse_opened,
    parse_sources,
)
from replicator.wire.restoring import (
    EndRestore,
    NeedUrls,
    Restore,
    Restored,
    Urls,
    parse_end_restore,
    parse_need_urls,
    parse_restore,
    parse_restored,
    parse_urls,
)
from replicator.wire.sums import BlockSums, SumBlocks, parse_block_sums, parse_sum_blocks, version

__all__ = (
    "FEATURES",
    "REQUIRED",
    "VERSION",
    "Acks",
    "Batch",
    "BeginFile",
    "BlockSums",
    "Data",
    "Descend",
    "DigestTree",
    "Digests",
    "EndRestore",
    "Hello",
    "ListTree",
    "Listing",
    "Message",
    "More",
    "NeedUrls",
    "OpenTree",
    "Opened",
    "Origin",
    "Restore",
    "Restored",
    "Sources",
    "SumBlocks",
    "Urls",
    "decode",
)


class Batch(NamedTuple):
    """Changes, applied in order; the payload holds the contents of the files, one after the other."""

    changes: tuple[Change, ...]

    def header(self) -> dict[str, Any]:
        """Return the frame header."""
        return {"t": "batch", "changes": [change_row(change) for change in self.changes]}


class BeginFile(NamedTuple):
    """A file too large for one frame; its content follows as Data.

    `delta`: the content is a delta against the file at the path. `base`: the version that it must have, from BlockSums; empty: any.
    """

    put: PutFile
    delta: bool
    base: str = ""

    def header(self) -> dict[str, Any]:
        """Return the frame header."""
        header = {"t": "file", "put": change_row(self.put), "delta": self.delta}
        return {**header, "base": self.base} if self.base else header


class Data(NamedTuple):
    """The next instructions for a file started by BeginFile: pairs as in `delta.ops`, with the literals in the payload.

    `end`: the file is complete. `cancel`: the backend abandons it.
    """

    number: int
    pairs: list[list[int]]
    end: bool = False
    cancel: bool = False

    def header(self) -> dict[str, Any]:
        """Return the frame header."""
        return {
            "t": "data",
            "n": self.number,
            "ops": self.pairs,
            "end": self.end,
            "cancel": self.cancel,
        }


class Acks(NamedTuple):
    """Numbers of applied changes, and (number, reason, detail) of refused ones.

    `taken`: total bytes of the frames that the agent has handled since the connection began; bytes sent beyond that are in transit.
    """

    done: tuple[int, ...]
    refused: tuple[tuple[int, str, str], ...]
    taken: int

    def header(self) -> dict[str, Any]:
        """Return the frame header."""
        refused = [list(row) for row in self.refused]
        return {"t": "acks", "done": list(self.done), "refused": refused, "taken": self.taken}


Message = Union[
    Hello,
    Sources,
    OpenTree,
    Opened,
    Batch,
    BeginFile,
    Data,
    ListTree,
    More,
    Listing,
    DigestTree,
    Descend,
    Digests,
    Acks,
    Restore,
    EndRestore,
    NeedUrls,
    Urls,
    Restored,
    SumBlocks,
    BlockSums,
]


def decode(header: dict[str, Any]) -> Message:
    """Return the message in a frame header.

    Raises:
        ProtocolError: the header is not a valid message.
    """
    kind = header.get("t")
    decoder = _DECODERS.get(kind) if isinstance(kind, str) else None
    if decoder is None:
        raise ProtocolError("unknown message")
    try:
        message: Message = decoder(header)
    except KeyError as error:
        raise ProtocolError(f"message {kind} lacks {error}") from None
    return message


def _batch(header: dict[str, Any]) -> Batch:
    return Batch(tuple(map(parse_change, fields.array(header["changes"]))))


def _begin(header: dict[str, Any]) -> BeginFile:
    put = parse_change(header["put"])
    if not isinstance(put, PutFile):
        raise ProtocolError("expected a file")
    return BeginFile(put, fields.flag(header["delta"]), version(header.get("base", "")))


def _data(header: dict[str, Any]) -> Data:
    return Data(
        fields.number(header["n"]),
        fields.array(header["ops"]),
        fields.flag(header["end"]),
        fields.flag(header["cancel"]),
    )


def _acks(header: dict[str, Any]) -> Acks:
    return Acks(
        tuple(map(fields.number, fields.array(header["done"]))),
        tuple(
            tuple(fields.row((fields.number, _reason, fields.words), one))
            for one in fields.array(header["refused"])
        ),
        fields.number(header["taken"]),
    )


def _reason(value: Any) -> str:
    return value if type(value) is str and value in REASONS else FAILED


_DECODERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "hello": parse_hello,
    "open": parse_open,
    "sources": parse_sources,
    "opened": parse_opened,
    "batch": _batch,
    "file": _begin,
    "data": _data,
    "list": parse_list,
    "more": parse_more,
    "listing": parse_listing,
    "digest": parse_digest,
    "descend": parse_descend,
    "digests": parse_digests,
    "acks": _acks,
    "restore": parse_restore,
    "end-restore": parse_end_restore,
    "need-urls": parse_need_urls,
    "urls": parse_urls,
    "restored": parse_restored,
    "sums": parse_sum_blocks,
    "summed": parse_block_sums,
}
