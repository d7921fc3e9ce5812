"""A write lease: only the newest agent changes a tree, and only while readers find it at its place."""

import os

import pytest

from replicator.agent.fencing import Fenced, open_locks
from replicator.agent.refusals import Refused
from replicator.agent.write_lease import WriteLease
from replicator.wire import changes
from tests.support.stores import fence_of


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def lease(root):
    """Return a function that makes write leases of the root, one newer than the other."""
    opened = []

    def lease(place=True, lineage=b"backend"):
        root_fd, locks = os.open(root, os.O_RDONLY), open_locks()
        opened.extend((root_fd, locks))
        fence = fence_of(root_fd, lineage, locks)
        return WriteLease(root_fd, fence, os.fsencode(root) if place else b"")

    yield lease
    for fd in opened:
        os.close(fd)


def reason_of(act):
    with pytest.raises(Refused) as refused:
        act()
    assert refused.value.reason == changes.ROOT_GONE
    return refused.value.detail


def test_the_newest_that_has_changed_something_counts(lease):
    old = lease()
    old.check()
    new = lease()
    new.check()
    for act in (old.check, old.look, old.yield_to_newer):
        with pytest.raises(Fenced):
            act()
    new.look()


def test_a_root_that_was_moved_removed_or_replaced_is_ours_no_more(lease, root):
    ours, nobody_looks = lease(), lease(place=False, lineage=b"another")
    ours.check_root()
    root.rename(root.with_name("moved"))
    assert "moved or removed" in reason_of(ours.look)
    root.mkdir()
    assert "another directory" in reason_of(ours.check)
    nobody_looks.check()
    ours.check_root()
    root.with_name("moved").rmdir()
    assert "removed" in reason_of(ours.check_root)


def test_a_way_that_may_not_be_searched_any_more_is_no_reason(lease, monkeypatch):
    ours = lease()

    def denied(_):
        raise PermissionError

    monkeypatch.setattr(os, "stat", denied)
    ours.check()
