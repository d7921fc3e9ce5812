"""What is paused: which machine and which tree, for how long, and that the state file keeps it."""

import pytest

from replicator.app.paused import open_paused
from replicator.engine.paused import Machine, Pause, Paused, prolonged
from replicator.errors import ReplicatorError
from replicator.ports import Address, Candidate

PAUSE = Pause(1000.0, "alice", None)


def candidate(host, identity=""):
    return Candidate(Address(host), identity=identity)


def test_another_machine_at_the_address_of_a_paused_one_is_not_paused():
    paused = Paused({Machine(Address("10.0.0.1"), "i-1"): PAUSE})
    assert paused.of_frontend(candidate("10.0.0.1", "i-1")) is PAUSE
    assert paused.of_frontend(candidate("10.0.0.9", "i-1")) is PAUSE, "the machine has moved"
    assert paused.of_frontend(candidate("10.0.0.1")) is PAUSE, "its identity is not known yet"
    assert paused.of_frontend(candidate("10.0.0.1", "i-2")) is None
    assert paused.of_frontend(candidate("10.0.0.2")) is None


def test_a_second_port_of_a_host_is_another_frontend():
    paused = Paused({Machine(Address("web1"), ""): PAUSE})
    assert paused.of_frontend(Candidate(Address("web1", port=2222))) is None
    assert paused.of_address(Address("web1")) is PAUSE
    assert paused.of_address(Address("web1", port=2222)) is None


def test_a_pause_ends_when_its_time_is_over_and_not_before():
    paused = Paused(
        {Machine(Address("a"), ""): Pause(0.0, "", 50.0), Machine(Address("b"), ""): PAUSE},
        {b"/srv": Pause(0.0, "", 60.0)},
    )
    assert paused.expire(49.9) == []
    assert paused.expire(50.0) == ["a"]
    assert paused.expire(1e12) == ["/srv"]
    assert (list(paused.frontends.values()), paused.trees) == ([PAUSE], {})


def test_a_second_request_changes_the_end_of_a_pause_and_neither_its_beginning_nor_its_author():
    timed = prolonged(PAUSE, "bob", 60.0)
    assert (timed.since, timed.by) == (1000.0, "alice")
    assert timed.until is not None
    assert timed.until > 1060.0
    assert prolonged(timed, "bob", None) == PAUSE
    assert prolonged(None, "bob", None).by == "bob"


def test_the_state_file_keeps_every_pause(tmp_path):
    path = tmp_path / "pauses.json"
    paused = open_paused(path)
    assert not paused
    paused.frontends[Machine(Address("10.0.0.1", "deploy", 2222), "i-1")] = PAUSE
    paused.trees[b"/srv/\xff"] = Pause(5.0, "", 70.0)
    paused.save(paused)
    again = open_paused(path)
    assert (again.frontends, again.trees) == (paused.frontends, paused.trees)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '[{"source": 1}]', '[{"host": "a"}]', "3", "\xff"]
)
def test_a_damaged_state_file_is_an_error_rather_than_no_pause(tmp_path, text):
    path = tmp_path / "pauses.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ReplicatorError, match="unknown what `replicator pause` has paused"):
        open_paused(path)


def test_a_pause_says_since_when_by_whom_and_until_when():
    assert str(PAUSE) == "paused since 1970-01-01 00:16:40 UTC by alice"
    assert (
        str(Pause(0.0, "", 60.0))
        == "paused since 1970-01-01 00:00:00 UTC until 1970-01-01 00:01:00 UTC"
    )
