"""Record of one dirty path of a frontend, and its states.

WAITING: to be read and sent. SENT: read under its generation, not yet acknowledged. BLOCKED: refused, to be retried later.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class PendingKind(enum.IntEnum):
    """What a frontend needs for a path; a higher value includes the lower ones."""

    ATTRIBUTES = 1  # size and time are equal, mode or owner differs
    ADOPT = 2  # equal size, different time: the agent compares digests before content is sent
    DELTA = 3  # another version may be there: of a large file, only what differs from it is sent
    CONTENT = 4


class Key(NamedTuple):
    """A path in a tree: the tree's number and the relative path."""

    tree: int
    path: bytes


class PendingChange(NamedTuple):
    """A path to read and send now, with the generation that its acknowledgement must carry."""

    key: Key
    generation: int
    kind: PendingKind


class PathState(enum.Enum):
    """State of a record; CLEAN: acknowledged or removed."""

    CLEAN = 0
    WAITING = 1
    SENT = 2
    BLOCKED = 3


class Pending:
    """Record of one dirty path.

    Args:
        since: the time at which the path became dirty.

    Attributes:
        generation: number of the last `DirtySet.mark`.
        kind: what must be sent.
        urgent: True for a live change, False for bulk.
        state: changed only by `core.queues`.
        attempts: refusals in a row.
        reason: why the path was refused last; empty if it was not.
        unreadable: True if the backend cannot read the path.
        removal: True if the path was deleted: it waits for all content that is waiting.
    """

    __slots__ = (
        "attempts", "generation", "kind", "reason", "removal", "since", "state", "unreadable", "urgent"
    )  # fmt: skip

    def __init__(self, since: float) -> None:
        self.since = since
        self.generation = 0
        self.kind = PendingKind.ATTRIBUTES
        self.urgent = False
        self.state = PathState.CLEAN
        self.attempts = 0
        self.reason = ""
        self.unreadable = False
        self.removal = False
