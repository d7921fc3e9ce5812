"""What an operator has paused: frontends and trees to which nothing is sent until they are unpaused. Kept across restarts and reloads."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from replicator.model import printable
from replicator.ports import Address, Candidate


@dataclass(frozen=True)
class Pause:
    """One pause. Times are Unix seconds.

    Attributes:
        since: when it began.
        by: the user who asked for it; empty if unknown.
        until: when it ends by itself; None: never.
    """

    since: float
    by: str = ""
    until: float | None = None

    def __str__(self) -> str:
        by = f" by {self.by}" if self.by else ""
        until = f" until {_clock(self.until)}" if self.until is not None else ""
        return f"paused since {_clock(self.since)}{by}{until}"

    def row(self) -> dict[str, Any]:
        """Return the pause as plain values, for `status` and for the state file."""
        return {"since": self.since, "by": self.by, "until": self.until}


class Machine(NamedTuple):
    """A paused frontend: its address, and the identity of the machine, empty if discovery knew none."""

    address: Address
    identity: str

    def is_same(self, other: Machine) -> bool:
        """Return True if both are the same machine. An identity counts more than an address, which machines reuse."""
        if self.identity and other.identity:
            return self.identity == other.identity
        return self.address == other.address

    def is_of(self, candidate: Candidate) -> bool:
        """Return True if this is the machine of a candidate."""
        return self.is_same(Machine(candidate.address, candidate.identity))


@dataclass
class Paused:
    """All pauses.

    Attributes:
        frontends: paused frontends; those that have left the fleet stay, because they may return.
        trees: paused trees, by source directory.
        save: writes this object; blocks. Raises OSError.
    """

    frontends: dict[Machine, Pause] = field(default_factory=dict)
    trees: dict[bytes, Pause] = field(default_factory=dict)
    save: Callable[[Paused], None] = lambda _: None

    def __bool__(self) -> bool:
        return bool(self.frontends or self.trees)

    def of_frontend(self, candidate: Candidate) -> Pause | None:
        """Return the pause of a frontend; None if it is not paused."""
        if not self.frontends:
            return None
        found = (one for machine, one in self.frontends.items() if machine.is_of(candidate))
        return next(found, None)

    def of_address(self, address: Address) -> Pause | None:
        """Return the pause of a frontend that is not in the fleet, by what an operator calls it; None if it is not paused."""
        found = (one for machine, one in self.frontends.items() if address.means(machine.address))
        return next(found, None)

    def copy(self) -> Paused:
        """Return a copy, to be changed, saved, and put in place with `become`."""
        return replace(self, frontends=dict(self.frontends), trees=dict(self.trees))

    def become(self, other: Paused) -> None:
        """Take over the pauses of another object."""
        self.frontends, self.trees = other.frontends, other.trees

    def expire(self, now: float) -> list[str]:
        """End the pauses whose time is over; return the names of what was paused."""
        machines = [one for one, pause in self.frontends.items() if _is_over(pause, now)]
        roots = [root for root, pause in self.trees.items() if _is_over(pause, now)]
        for machine in machines:
            del self.frontends[machine]
        for root in roots:
            del self.trees[root]
        return [*(str(one.address) for one in machines), *map(printable, roots)]


def prolonged(known: Pause | None, by: str, seconds: float | None) -> Pause:
    """Return the pause that a request asks for. A known one keeps its beginning and its author, and ends when the request says.

    Args:
        known: the present pause; None if there is none.
        by: who asks.
        seconds: for how long from now on; None: until it is unpaused.
    """
    now = round(time.time(), 3)
    until = None if seconds is None else now + seconds
    return replace(known, until=until) if known is not None else Pause(now, by, until)


def _is_over(pause: Pause, now: float) -> bool:
    return pause.until is not None and pause.until <= now


def _clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
