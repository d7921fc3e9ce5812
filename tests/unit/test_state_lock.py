"""The lock of the state directory: one daemon holds it, and an error of that daemon is no error of the lock."""

import errno

import pytest

from replicator.app.state_lock import state_lock
from replicator.errors import StateLocked


def test_a_second_daemon_is_refused_with_the_pid_of_the_first(tmp_path):
    with (
        state_lock(tmp_path / "state"),
        pytest.raises(StateLocked, match=r"\(pid \d+\) owns this state"),
        state_lock(tmp_path / "state"),
    ):
        pass
    with state_lock(tmp_path / "state"):
        pass


def test_an_error_while_the_lock_is_held_is_raised_as_it_is(tmp_path):
    with pytest.raises(BlockingIOError), state_lock(tmp_path / "state"):
        raise BlockingIOError(errno.EAGAIN, "a pipe is full")
