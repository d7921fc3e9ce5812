"""State machine of a frontend.

    connecting -> queued -> bootstrapping -> live        the normal course
    any of these -> retrying -> connecting               a failure, then the next attempt after a delay
    bootstrapping -> queued -> live                      the bootstrap was slow, and other frontends went first
    live <-> queued                                      a comparison was requested, or the dirty set overflowed
    any -> gone                                          discovery no longer lists the frontend

`status` shows three more, which `engine.control.shown` derives: `halted` while the source of a tree is in doubt, `paused` while an operator has
paused the frontend or a tree that it waits for, and `degraded` for a live frontend that refuses a path, cannot be sent one, or has paths
that should not exist.
"""

from __future__ import annotations

import enum

from replicator.errors import ReplicatorError


class State(enum.Enum):
    """State of a frontend; `status` shows the values."""

    CONNECTING = "connecting"
    QUEUED = "queued"
    BOOTSTRAPPING = "bootstrapping"
    LIVE = "live"
    RETRYING = "retrying"
    GONE = "gone"


_TRANSITIONS = {
    State.CONNECTING: {State.QUEUED, State.RETRYING, State.GONE},
    State.QUEUED: {State.BOOTSTRAPPING, State.LIVE, State.RETRYING, State.GONE},
    State.BOOTSTRAPPING: {State.LIVE, State.QUEUED, State.RETRYING, State.GONE},
    State.LIVE: {State.QUEUED, State.RETRYING, State.GONE},
    State.RETRYING: {State.CONNECTING, State.GONE},
    State.GONE: set[State](),
}


def move(current: State, to: State) -> State:
    """Return `to` if the transition is allowed.

    Raises:
        ReplicatorError: if it is not, which is a bug in the caller.
    """
    if to is not current and to not in _TRANSITIONS[current]:
        raise ReplicatorError(f"a frontend cannot turn from {current.value} to {to.value}")
    return to
