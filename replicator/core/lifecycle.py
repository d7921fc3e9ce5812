"""The states of a frontend, and the moves between them.

    connecting -> queued -> bootstrapping -> live        the way up
    any of these -> retrying -> connecting               a failure, and the next attempt after a pause
    bootstrapping -> queued -> live                      it was slow, and others went first
    live <-> queued                                      a reconcile was asked for, or the dirty set overflowed
    any -> gone                                          discovery does not name it any more

`halted` is not a state of a frontend but of a tree (its source is in doubt); `status` shows it in the frontend's place.
So is `degraded`, which it shows for a live frontend that refuses something, cannot be given something, or holds what it should not.
"""

from __future__ import annotations

import enum

from replicator.errors import ReplicatorError


class State(enum.Enum):
    """Where a frontend is in its life; the values are what `status` prints."""

    CONNECTING = "connecting"
    QUEUED = "queued"
    BOOTSTRAPPING = "bootstrapping"
    LIVE = "live"
    RETRYING = "retrying"
    HALTED = "halted"
    GONE = "gone"


_MOVES = {
    State.CONNECTING: {State.QUEUED, State.RETRYING, State.GONE},
    State.QUEUED: {State.BOOTSTRAPPING, State.LIVE, State.RETRYING, State.GONE},
    State.BOOTSTRAPPING: {State.LIVE, State.QUEUED, State.RETRYING, State.GONE},
    State.LIVE: {State.QUEUED, State.RETRYING, State.GONE},
    State.RETRYING: {State.CONNECTING, State.GONE},
    State.GONE: set[State](),
}


def move(current: State, to: State) -> State:
    """Return the new state.

    Raises:
        ReplicatorError: if there is no such move; our own bug.
    """
    if to is not current and to not in _MOVES[current]:
        raise ReplicatorError(f"a frontend cannot turn from {current.value} to {to.value}")
    return to
