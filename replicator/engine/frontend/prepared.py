"""Reads and encodes dirty paths before the sender needs them, so that sending never waits for the disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from replicator.core.pending import PendingChange
from replicator.core.plan import safe_order
from replicator.engine.changes.encode import EncodedChanges, encode_batches
from replicator.engine.changes.reader import ContentReader, ReadResult, ReadyChange
from replicator.engine.frontend.in_flight import InFlight


@dataclass(frozen=True)
class Prepared:
    """A frame that waits for room in the window.

    Attributes:
        frame: the bytes.
        in_flights: the changes in it.
        dues: the dirty paths that it was read for; if one was marked again meanwhile, the frame is not sent.
        otherwise: the frame to send instead; empty: none, and the paths are read again.
        stream: the number of the file that the frame is a part of; if its beginning was not sent, no part is.
        is_content: a part between beginning and end, which is not sent once the file was refused.
        is_last: the end of a file, or its cancellation.
    """

    frame: bytes
    in_flights: tuple[InFlight, ...] = ()
    dues: tuple[PendingChange, ...] = ()
    otherwise: bytes = b""
    stream: int = 0
    is_content: bool = False
    is_last: bool = False


def prepare(
    reader: ContentReader, dues: Sequence[PendingChange]
) -> tuple[ReadResult, list[Prepared]]:
    """Read dirty paths, and encode the small ones; blocks.

    Returns:
        Everything that was read, and the frames of the small files.
    """
    result = reader.collect(dues)
    framed = _frame(result.ready)
    framed += [_prepared(group.encoded, group.dues) for group in result.groups]
    return result, framed


def _prepared(encoded: EncodedChanges, dues: tuple[PendingChange, ...]) -> Prepared:
    in_flights = tuple(
        InFlight(part, due.generation, bulk=True)
        for part, due in zip(encoded.parts, dues, strict=True)
    )
    return Prepared(encoded.frames[0], in_flights, dues)


def _frame(ready: Sequence[ReadyChange]) -> list[Prepared]:
    """Encode single changes in an order in which each can succeed."""
    by_number = {item.change.number: item for item in ready}
    ordered = [by_number[change.number] for change in safe_order([item.change for item in ready])]
    return [
        _prepared(encoded, tuple(by_number[part.number].due for part in encoded.parts))
        for encoded in encode_batches((item.change, item.content) for item in ordered)
    ]
