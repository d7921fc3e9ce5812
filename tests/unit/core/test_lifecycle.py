"""The states of a frontend are those that status promises, and only the transitions in the table are possible."""

import pytest

from replicator.core.lifecycle import State, move
from replicator.errors import ReplicatorError


def test_the_states_are_the_documented_ones():
    promised = {"connecting", "queued", "bootstrapping", "live", "retrying", "gone"}

    assert {state.value for state in State} == promised


def test_the_normal_transitions():
    state = State.CONNECTING
    for to in (
        State.QUEUED,
        State.BOOTSTRAPPING,
        State.LIVE,
        State.RETRYING,
        State.CONNECTING,
        State.GONE,
    ):
        state = move(state, to)

    assert state is State.GONE


@pytest.mark.parametrize(
    ("current", "to"),
    [(State.GONE, State.LIVE), (State.CONNECTING, State.LIVE), (State.RETRYING, State.LIVE)],
)
def test_a_transition_that_is_not_in_the_table_is_a_bug(current, to):
    with pytest.raises(ReplicatorError):
        move(current, to)
