"""Deletions: what may be told of what is gone. The guard's own tests say how much is too much."""

import pytest

from replicator.core.debouncer import Debouncer
from replicator.core.guard import FREE, HOLD, STEADY
from replicator.engine.ingest.deletions import Deletions
from replicator.engine.tree import Tree
from replicator.errors import SourceError
from tests.support.fakes import FakeCatalog, FakeSource, FakeWatcher, Node
from tests.support.source_state import SITE

MANY = [b"%d" % number for number in range(2 * FREE)]


def tree(delete=True, guard=0.5):
    return Tree(
        number=1,
        root=b"/source",
        target=SITE,
        source=FakeSource(),
        catalog=FakeCatalog(),
        make_watcher=FakeWatcher,
        debouncer=Debouncer(cooldown=0.1, max_wait=1.0),
        delete=delete,
        delete_guard=guard,
    )


@pytest.fixture
def emptied():
    """A tree that just lost all it had; the loss is not told yet."""
    return tree()


def test_what_is_gone_is_told(emptied):
    deletions = Deletions(emptied)
    assert deletions.admit([b"a"], 100.0) == [b"a"]
    assert deletions.allowed


def test_without_delete_nothing_is_told_whatever_a_person_says():
    deletions = Deletions(tree(delete=False))
    deletions.believed = True
    assert deletions.admit([b"a"], 100.0) == []
    assert not deletions.allowed


def test_too_much_pauses_over_restarts_until_a_person_confirms(emptied):
    deletions = Deletions(emptied)
    assert deletions.admit(MANY, 100.0) == []
    assert not deletions.paused, "they may come back"
    assert deletions.release() == []
    assert "200 of 200 paths" in deletions.paused
    assert not deletions.allowed

    again = Deletions(emptied)
    assert again.paused == deletions.paused
    assert again.admit([b"a"], 200.0) == []

    deletions.forget_pause()
    deletions.confirm(200.0, believe=False)
    assert deletions.allowed
    assert deletions.admit(MANY, 200.0) == MANY, "what is left of this go"
    assert Deletions(emptied).paused == ""


def test_what_is_held_back_is_told_later_but_for_what_has_come_back():
    some = tree()
    for number in range(10 * FREE):
        some.catalog.put(b"left-%d" % number, Node("file").entry)
    deletions = Deletions(some)
    assert deletions.admit(MANY, 100.0) == []
    assert deletions.allowed
    assert deletions.holds(MANY[0]), "it is unclear how much that will be"
    assert not deletions.is_ripe(100.0)
    assert deletions.is_ripe(101.0 + HOLD)

    some.catalog.put(MANY[0], Node("file").entry)
    assert deletions.release() == MANY[1:]
    assert not deletions.holds(MANY[1])


def test_what_is_held_back_goes_by_its_new_name_after_a_rename():
    deletions = Deletions(tree(guard=0.9))
    for number in range(10 * FREE):
        deletions._tree.catalog.put(b"left-%d" % number, Node("file").entry)
    gone = [b"d/" + path for path in MANY]
    assert deletions.admit(gone, 100.0) == []
    deletions.renamed(b"d", b"e")
    deletions.renamed(b"e/1", b"f")

    assert deletions.held == len(MANY)
    assert deletions.release() == [b"f" if path == b"1" else b"e/" + path for path in MANY]


def test_what_is_held_back_stays_so_if_the_catalog_fails(emptied):
    deletions = Deletions(emptied)
    deletions.admit(MANY, 100.0)

    emptied.catalog.failure = "database is locked"
    with pytest.raises(SourceError):
        deletions.release()
    assert deletions.held == len(MANY)


def test_what_was_held_back_is_released_in_portions_and_stays_held_until_its_turn():
    some = tree(guard=0.9)
    for number in range(10 * FREE):
        some.catalog.put(b"left-%d" % number, Node("file").entry)
    deletions = Deletions(some)
    deletions.admit(MANY, 100.0)
    assert deletions.release(50) == MANY[:50]
    assert deletions.releases
    assert not deletions.holds(MANY[0])
    assert deletions.holds(MANY[50])
    assert deletions.held == len(MANY) - 50

    some.catalog.failure = "database is locked"
    with pytest.raises(SourceError):
        deletions.release(50)
    some.catalog.failure = ""
    some.catalog.put(MANY[50], Node("file").entry)
    assert deletions.release(50) == MANY[51:100], "the first of them has come back"
    assert deletions.release() == MANY[100:]
    assert not deletions.releases


def paused(tree, left=0):
    for number in range(left):
        tree.catalog.put(b"left-%d" % number, Node("file").entry)
    deletions = Deletions(tree)
    deletions.admit(MANY, 100.0)
    assert deletions.release() == []
    assert deletions.paused
    return deletions


def put(tree, paths):
    for path in paths:
        tree.catalog.put(path, Node("file").entry)


def test_a_pause_ends_when_what_was_removed_exists_again(emptied):
    deletions = paused(emptied)
    assert not deletions.resume(101.0)
    put(emptied, MANY[1:])
    assert not deletions.resume(102.0)
    put(emptied, MANY[:1])
    assert deletions.resume(103.0)
    assert deletions.allowed
    assert not Deletions(emptied).paused


def test_a_pause_ends_when_less_is_missing_than_may_go_but_not_while_it_comes_back(emptied):
    deletions = paused(emptied, left=100)
    put(emptied, MANY[:FREE])
    assert not deletions.resume(101.0)
    put(emptied, MANY[FREE : FREE + 50])
    assert not deletions.resume(101.0 + STEADY), "more has come back since"
    assert deletions.unsent == 50
    assert not deletions.resume(100.0 + 2 * STEADY)
    assert deletions.resume(101.0 + 2 * STEADY)


def test_what_else_is_added_does_not_end_a_pause(emptied):
    deletions = paused(emptied)
    put(emptied, [b"other-%d" % number for number in range(10 * FREE)])
    put(emptied, MANY[: FREE - 1])
    for now in (101.0, 200.0, 1000.0):
        assert not deletions.resume(now)
    assert deletions.unsent == FREE + 1


def test_what_is_removed_during_a_pause_is_missing_too_over_restarts(emptied):
    deletions = paused(emptied)
    more = [b"more-%d" % number for number in range(2 * FREE)]
    assert deletions.admit(more, 101.0) == []
    assert deletions.unsent == len(MANY) + len(more)
    assert deletions.asks
    deletions.judge()
    assert not deletions.asks
    put(emptied, MANY)

    again = Deletions(emptied)
    assert again.unsent == len(more)
    for now in (102.0, 200.0):
        assert not again.resume(now)
    put(emptied, more)
    assert again.resume(201.0)


def test_what_a_pause_withholds_is_recorded_later_if_the_catalog_fails(emptied, monkeypatch):
    deletions = Deletions(emptied)
    deletions.admit(MANY, 100.0)

    def fail(*_):
        raise SourceError("database is locked")

    with monkeypatch.context() as patched:
        patched.setattr(emptied.catalog, "pause", fail)
        with pytest.raises(SourceError):
            deletions.release()
    assert deletions.paused
    assert deletions.asks
    deletions.judge()
    assert Deletions(emptied).unsent == len(MANY)


def test_a_pause_of_an_earlier_release_is_ended_by_a_person_alone(emptied, monkeypatch):
    paused(emptied)
    monkeypatch.setattr(emptied.catalog, "withheld", lambda: None)
    deletions = Deletions(emptied)
    assert deletions.unsent is None
    assert not deletions.resume(101.0)


def test_a_source_that_a_person_believes_loses_what_it_lost(emptied):
    deletions = Deletions(emptied)
    deletions.confirm(100.0, believe=True)
    assert deletions.admit(MANY, 200.0) == MANY
    assert not deletions.paused
