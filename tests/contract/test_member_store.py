"""Contract of ports.MemberStore: MemberFile and FakeMemberStore pass the same tests."""

import pytest

from replicator.discovery.member_file import MemberFile
from replicator.ports import Address, Candidate, Decision, Launch
from tests.support.fakes.member_store import FakeMemberStore


def in_file(directory):
    """Return a function that opens the store anew, as after a restart."""
    return lambda: MemberFile(directory / "members.json")


def in_memory(_directory):
    store = FakeMemberStore()
    return lambda: store


@pytest.fixture(params=[in_file, in_memory], ids=lambda make: make.__name__)
def reopen(request, tmp_path):
    return request.param(tmp_path)


SERVED = Candidate(Address("10.0.0.1", "deploy", 2222), "alb web", "i-1", "healthy")
DRAINED = Candidate(Address("10.0.0.2"), "asg", "i-2", "draining", Decision.DRAIN)


def kept(members):
    """Return what is kept of members; the reason that they are given is free text."""
    return [(one.address, one.source, one.identity, one.state, one.decision) for one in members]


def test_nothing_is_stored_at_first(reopen):
    assert reopen().load() == {}


def test_what_was_saved_last_is_loaded_after_a_restart(reopen):
    reopen().save({"alb": [SERVED], "asg": [SERVED, DRAINED]})
    reopen().save({"alb": [SERVED, DRAINED], "empty": []})
    loaded = reopen().load()
    assert loaded.keys() == {"alb", "empty"}
    assert kept(loaded["alb"]) == kept([SERVED, DRAINED])
    assert all(member.reason for member in loaded["alb"]), (
        "it says that they are not from an answer"
    )


def test_what_a_later_change_would_falsify_is_not_kept(reopen):
    """A launch may be over by then, and a frontend that was to be dropped may be back."""
    launch = Launch("shop", "fill", "i-1", 300.0)
    reopen().save({"asg": [Candidate(Address("a"), "asg", "i-1", "Pending", launch=launch)]})
    reopen().save({"asg": [Candidate(Address("a"), "asg", "i-1", "Pending", Decision.DROP, "gone", launch)]})  # fmt: skip
    (loaded,) = reopen().load()["asg"]
    assert (loaded.address, loaded.identity, loaded.state) == (Address("a"), "i-1", "Pending")
    assert (loaded.decision, loaded.launch) == (Decision.SERVE, None)


def test_a_saved_list_does_not_change_with_the_callers(reopen):
    members = [SERVED]
    store = reopen()
    store.save({"alb": members})
    members.clear()
    store.load()["alb"].clear()
    assert kept(store.load()["alb"]) == kept([SERVED])
