"""Moves: where the ends of a rename are by the time it is answered, whatever was renamed since."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.core.pending import Key
from replicator.engine.changes.encode import ChangeRef
from replicator.engine.frontend import moves as module
from replicator.engine.frontend.moves import Moves
from replicator.model import is_below, rebase
from tests.support.frontends import at


def move(number, source, target, tree=1):
    return ChangeRef(number, Key(tree, source), target=target)


@pytest.fixture
def moves():
    return Moves()


def test_ends_that_nobody_has_renamed_are_where_they_were(moves):
    first, other = move(1, b"a", b"d/b"), move(2, b"e", b"f")
    moves.sent(first)
    moves.sent(other)
    moves.sent(move(3, b"d/b2", b"x"))
    moves.sent(move(4, b"d", b"x", tree=2))

    assert moves.answered(first) == (at(b"a"), at(b"d/b"))
    assert moves.answered(other) == (at(b"e"), at(b"f"))


def test_what_was_sent_later_renames_them_too(moves):
    first = move(1, b"d/a", b"d/b")
    moves.sent(first)
    moves.sent(move(2, b"d", b"e"))
    moves.sent(move(3, b"e/b", b"c"))

    assert moves.answered(first) == (at(b"e/a"), at(b"c"))


def test_of_very_many_it_is_known_in_which_tree_they_are(moves, monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 2)
    for number in (1, 2, 3):
        moves.sent(move(number, b"a%d" % number, b"b%d" % number))

    assert moves.answered(move(1, b"a1", b"b1")) == (at(b""), at(b""))
    assert moves.answered(move(3, b"a3", b"b3")) == (at(b"a3"), at(b"b3"))
    assert moves.answered(move(3, b"a3", b"b3")) == (at(b""), at(b""))


PATHS = st.lists(st.sampled_from([b"a", b"b"]), min_size=1, max_size=3).map(b"/".join)


@given(st.lists(st.tuples(PATHS, PATHS), max_size=8))
def test_an_end_is_where_the_renames_after_it_have_brought_it(renames):
    moves = Moves()
    moves.sent(move(0, b"a/b", b"b/a"))
    place = b"b/a"
    for number, (source, target) in enumerate(renames, 1):
        moves.sent(move(number, source, target))
        if place == source or is_below(place, source):
            place = rebase(place, source, target)

    assert moves.answered(move(0, b"a/b", b"b/a")).target == at(place)
