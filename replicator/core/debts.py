"""What one path is owed: the words, and the record that is kept of it.

A debt moves between three states. *Waiting*: to be read and sent. *Sent*: read under its generation, the answer is outstanding.
*Blocked*: refused, to be tried again at a time.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class Owed(enum.IntEnum):
    """What a path is owed; the higher covers the lower."""

    ATTRIBUTES = 1  # the content is right (same size and time), mode or owner is not
    ADOPT = 2  # same size, another time: perhaps the same content; the agent compares digests first
    CONTENT = 3


class Key(NamedTuple):
    """A path of a tree."""

    tree: int
    path: bytes


class Due(NamedTuple):
    """A path to be read and sent now, and the generation that it is read under."""

    key: Key
    generation: int
    owed: Owed


class State(enum.Enum):
    """Where a debt stands; one that is paid, or forgotten, is clean."""

    CLEAN = 0
    WAITING = 1
    SENT = 2
    BLOCKED = 3


class Inside:
    """What is owed in one directory.

    Attributes:
        key: the directory.
        keys: what is owed directly inside it.
        below: the directories directly inside it in or below which something is owed.
    """

    __slots__ = ("below", "key", "keys")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.keys: set[Key] = set()
        self.below: set[Key] = set()


_WAITING, _SENT = State.WAITING, State.SENT  # a member is looked up in its class at each use


class Debt:
    """What one path is owed.

    Args:
        since: the time at which the path became dirty.
        inside: the directory that it is directly inside of.

    Attributes:
        generation: of the last marking.
        owed: what is owed.
        urgent: True for a live change, False for bulk.
        state: where it stands; changed by `core.queues` alone.
        attempts: refusals in a row.
        reason: why it was refused last.
        withheld: the backend cannot read the path.
    """

    __slots__ = (
        "attempts", "generation", "inside", "owed", "reason", "since", "state", "urgent", "withheld"
    )  # fmt: skip

    def __init__(self, since: float, inside: Inside) -> None:
        self.since = since
        self.inside = inside
        self.generation = 0
        self.owed = Owed.ATTRIBUTES
        self.urgent = False
        self.state = State.CLEAN
        self.attempts = 0
        self.reason = ""
        self.withheld = False

    @property
    def is_open_bulk(self) -> bool:
        """True for bulk that is neither acknowledged nor blocked."""
        return not self.urgent and (self.state is _WAITING or self.state is _SENT)
