"""What is owed, read and framed ahead of the sending, so that the sender never waits for the disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from replicator.core.debts import Due
from replicator.core.plan import safe_order
from replicator.engine.link import Flight
from replicator.engine.parcel import Parcel, batches
from replicator.engine.supply import Ready, Supplies, Supply


@dataclass(frozen=True)
class Prepared:
    """A frame that waits for room.

    Attributes:
        frame: the bytes.
        flights: the changes in it.
        dues: what it was read for; if any was marked again meanwhile, the frame is not sent.
        otherwise: what is sent then; empty: nothing, and the paths are read again.
        stream: the number of the file that the frame is a part of; if its beginning was not sent, no part is.
        is_content: a part between beginning and end, which is not sent once the file was refused.
        is_last: the end of a file, or its cancellation.
    """

    frame: bytes
    flights: tuple[Flight, ...] = ()
    dues: tuple[Due, ...] = ()
    otherwise: bytes = b""
    stream: int = 0
    is_content: bool = False
    is_last: bool = False


def prepare(supply: Supply, dues: Sequence[Due]) -> tuple[Supplies, list[Prepared]]:
    """Read what is due, and frame what is small; blocks.

    Returns:
        All that was found, and the frames of what is small.
    """
    supplies = supply.collect(dues)
    framed = _frame(supplies.ready)
    framed += [_prepared(group.parcel, group.dues) for group in supplies.groups]
    return supplies, framed


def _prepared(parcel: Parcel, dues: tuple[Due, ...]) -> Prepared:
    flights = tuple(
        Flight(part, due.generation, bulk=True)
        for part, due in zip(parcel.parts, dues, strict=True)
    )
    return Prepared(parcel.frames[0], flights, dues)


def _frame(ready: Sequence[Ready]) -> list[Prepared]:
    """Frame single changes in a safe order."""
    by_number = {item.change.number: item for item in ready}
    ordered = [by_number[change.number] for change in safe_order([item.change for item in ready])]
    return [
        _prepared(parcel, tuple(by_number[part.number].due for part in parcel.parts))
        for parcel in batches((item.change, item.content) for item in ordered)
    ]
