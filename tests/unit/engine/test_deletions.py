"""Deletions: which may be published. The tests of the guard have the limits."""

import pytest

from replicator.core.debouncer import Debouncer
from replicator.core.guard import FREE, HOLD, STEADY
from replicator.engine.ingest import deletions as module
from replicator.engine.ingest.deletions import Deletions
from replicator.engine.tree import Tree
from replicator.errors import SourceError
from tests.support.fakes.catalog import FakeCatalog
from tests.support.fakes.content import Node
from tests.support.fakes.source import FakeSource
from tests.support.fakes.watcher import FakeWatcher
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
    """A tree that just lost all it had; the deletions are not published yet."""
    return tree()


def test_deletions_are_published(emptied):
    deletions = Deletions(emptied)
    assert deletions.admit([b"a"], 100.0) == [b"a"]
    assert deletions.allowed


def test_without_delete_nothing_is_deleted_even_after_confirmation():
    deletions = Deletions(tree(delete=False))
    deletions.source_confirmed = True
    assert deletions.admit([b"a"], 100.0) == []
    assert not deletions.allowed


def test_a_mass_deletion_pauses_over_restarts_until_confirmed(emptied):
    deletions = Deletions(emptied)
    assert deletions.admit(MANY, 100.0) == []
    assert not deletions.paused, "they may come back"
    assert deletions.release() == []
    assert "200 of 200 paths" in deletions.paused
    assert not deletions.allowed

    again = Deletions(emptied)
    assert again.paused == deletions.paused
    assert again.admit([b"a"], 200.0) == []

    deletions.confirm(200.0, source=False)
    deletions.forget_pause()
    assert deletions.allowed
    assert deletions.admit(MANY, 200.0) == MANY, "what is left of this go"
    assert Deletions(emptied).paused == ""


def test_a_path_is_held_until_the_pause_has_begun(emptied, monkeypatch):
    deletions = Deletions(emptied)
    deletions.admit(MANY, 100.0)
    seen = []

    class Log:
        def error(self, *_, **__):
            seen.append((deletions.allowed, deletions.is_held(MANY[0])))

    monkeypatch.setattr(module, "log", Log())
    deletions.release()
    assert seen == [(False, True)]
    assert not deletions.is_held(MANY[0])


def lose(deletions, prefix, now):
    """Lose many paths at once; return them."""
    gone = [prefix + path for path in MANY]
    assert deletions.admit(gone, now) == []
    assert deletions.release() == []
    return gone


def test_a_pause_that_begins_before_the_former_is_forgotten_outlasts_a_restart():
    some = tree()
    deletions = Deletions(some)
    lose(deletions, b"first-", 100.0)
    deletions.confirm(200.0, source=False)
    second = lose(deletions, b"second-", 300.0)

    deletions.forget_pause()
    again = Deletions(some)
    assert again.paused == deletions.paused != ""
    assert again.unsent == len(second), "those that were confirmed do not count"
    assert set(again.samples(len(MANY))) <= set(second)


def test_a_pause_that_cannot_be_forgotten_at_once_is_forgotten_later(emptied, monkeypatch):
    deletions = Deletions(emptied)
    lose(deletions, b"", 100.0)
    deletions.confirm(200.0, source=False)
    with monkeypatch.context() as patched:
        patched.setattr(emptied.catalog, "unpause", failing)
        with pytest.raises(OSError, match="full"):
            deletions.forget_pause()
    deletions.forget_pause()
    assert Deletions(emptied).paused == ""


def failing():
    raise OSError("full")


def test_held_deletions_are_released_except_for_paths_that_exist_again():
    some = tree()
    for number in range(10 * FREE):
        some.catalog.put(b"left-%d" % number, Node("file").entry)
    deletions = Deletions(some)
    assert deletions.admit(MANY, 100.0) == []
    assert deletions.allowed
    assert deletions.is_held(MANY[0]), "it is unclear how much that will be"
    assert not deletions.is_ripe(100.0)
    assert deletions.is_ripe(101.0 + HOLD)

    some.catalog.put(MANY[0], Node("file").entry)
    assert deletions.release() == MANY[1:]
    assert not deletions.is_held(MANY[1])


def test_held_deletions_have_their_new_names_after_a_rename():
    some = tree(guard=0.9)
    deletions = Deletions(some)
    for number in range(10 * FREE):
        some.catalog.put(b"left-%d" % number, Node("file").entry)
    gone = [b"d/" + path for path in MANY]
    assert deletions.admit(gone, 100.0) == []
    deletions.renamed(b"d", b"e")
    deletions.renamed(b"e/1", b"f")

    assert deletions.held == len(MANY)
    assert deletions.release() == [*(b"e/" + path for path in MANY if path != b"1"), b"f"]


def test_deletions_stay_held_if_the_catalog_fails(emptied):
    deletions = Deletions(emptied)
    deletions.admit(MANY, 100.0)

    emptied.catalog.failure = "database is locked"
    with pytest.raises(SourceError):
        deletions.release()
    assert deletions.held == len(MANY)


def test_held_deletions_are_released_in_portions():
    some = tree(guard=0.9)
    for number in range(10 * FREE):
        some.catalog.put(b"left-%d" % number, Node("file").entry)
    deletions = Deletions(some)
    deletions.admit(MANY, 100.0)
    assert deletions.release(50) == MANY[:50]
    assert deletions.has_released
    assert not deletions.is_held(MANY[0])
    assert deletions.is_held(MANY[50])
    assert deletions.held == len(MANY) - 50

    some.catalog.failure = "database is locked"
    with pytest.raises(SourceError):
        deletions.release(50)
    some.catalog.failure = ""
    some.catalog.put(MANY[50], Node("file").entry)
    assert deletions.release(50) == MANY[51:100], "the first of them has come back"
    assert deletions.release() == MANY[100:]
    assert not deletions.has_released


def paused(tree, left=0):
    for number in range(left):
        tree.catalog.put(b"left-%d" % number, Node("file").entry)
    deletions = Deletions(tree)
    deletions.admit(MANY, 100.0)
    assert deletions.release() == []
    assert deletions.paused
    return deletions


def test_some_of_the_held_and_the_withheld_deletions_are_shown_by_name(emptied):
    deletions = Deletions(emptied)
    deletions.admit(MANY, 100.0)
    assert deletions.samples(3) == MANY[:3]
    deletions = paused(emptied)
    assert deletions.samples(3) == MANY[:3]
    after_a_restart = Deletions(emptied).samples(3)
    assert len(after_a_restart) == 3
    assert set(after_a_restart) <= set(MANY)
    put(emptied, MANY)
    assert deletions.may_resume(101.0)
    deletions.resume()
    assert deletions.samples(3) == []


def put(tree, paths):
    for path in paths:
        tree.catalog.put(path, Node("file").entry)


def test_a_pause_ends_when_the_removed_paths_exist_again(emptied):
    deletions = paused(emptied)
    assert not deletions.may_resume(101.0)
    put(emptied, MANY[1:])
    assert not deletions.may_resume(102.0)
    put(emptied, MANY[:1])
    assert deletions.may_resume(103.0)
    assert not deletions.allowed, "before the caller requests a comparison in the same turn"
    deletions.resume()
    assert deletions.allowed
    assert not Deletions(emptied).paused


def test_a_pause_ends_when_an_acceptable_number_is_missing_for_long_enough(emptied):
    deletions = paused(emptied, left=100)
    put(emptied, MANY[:FREE])
    assert not deletions.may_resume(101.0)
    put(emptied, MANY[FREE : FREE + 50])
    assert not deletions.may_resume(101.0 + STEADY), "more has come back since"
    assert deletions.unsent == 50
    assert not deletions.may_resume(100.0 + 2 * STEADY)
    assert deletions.may_resume(101.0 + 2 * STEADY)


def test_other_new_paths_do_not_end_a_pause(emptied):
    deletions = paused(emptied)
    put(emptied, [b"other-%d" % number for number in range(10 * FREE)])
    put(emptied, MANY[: FREE - 1])
    for now in (101.0, 200.0, 1000.0):
        assert not deletions.may_resume(now)
    assert deletions.unsent == FREE + 1


def test_paths_removed_during_a_pause_count_as_missing_over_restarts(emptied):
    deletions = paused(emptied)
    more = [b"more-%d" % number for number in range(2 * FREE)]
    assert deletions.admit(more, 101.0) == []
    assert deletions.unsent == len(MANY) + len(more)
    assert deletions.needs_decision
    deletions.decide()
    assert not deletions.needs_decision
    put(emptied, MANY)

    again = Deletions(emptied)
    assert again.unsent == len(more)
    for now in (102.0, 200.0):
        assert not again.may_resume(now)
    put(emptied, more)
    assert again.may_resume(201.0)


def test_withheld_deletions_are_recorded_later_if_the_catalog_fails(emptied, monkeypatch):
    deletions = Deletions(emptied)
    deletions.admit(MANY, 100.0)

    def fail(*_):
        raise SourceError("database is locked")

    with monkeypatch.context() as patched:
        patched.setattr(emptied.catalog, "pause", fail)
        with pytest.raises(SourceError):
            deletions.release()
    assert deletions.paused
    assert deletions.needs_decision
    deletions.decide()
    assert Deletions(emptied).unsent == len(MANY)


def test_a_pause_of_an_earlier_release_ends_only_by_confirmation(emptied, monkeypatch):
    paused(emptied)
    monkeypatch.setattr(emptied.catalog, "withheld", lambda: None)
    deletions = Deletions(emptied)
    assert deletions.unsent is None
    assert not deletions.may_resume(101.0)


def test_a_confirmed_source_has_its_deletions_published(emptied):
    deletions = Deletions(emptied)
    deletions.confirm(100.0, source=True)
    assert deletions.admit(MANY, 200.0) == MANY
    assert not deletions.paused
