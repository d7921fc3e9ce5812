"""Moves in flight: after which of them the target must be compared."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.core.pending import Key
from replicator.engine.changes.encode import ChangeRef
from replicator.engine.frontend.in_flight import Moves
from replicator.model import overlap


def move(number, source, target, tree=1):
    return ChangeRef(number, Key(tree, source), target=target)


@pytest.fixture
def moves():
    return Moves()


@pytest.mark.parametrize("uncertain", [False, True])
def test_the_uncertainty_of_a_single_move_is_set_by_the_caller(moves, uncertain):
    moves.add(move(1, b"a", b"b"), uncertain=uncertain)
    assert moves
    assert moves.answered(move(1, b"a", b"b")) is uncertain
    assert not moves


def test_a_move_of_another_tree_or_beside_it_makes_no_move_uncertain(moves):
    moves.add(move(1, b"d/a", b"d/b"), uncertain=False)
    for number, other in enumerate((move(2, b"d/ab", b"d/c"), move(3, b"d", b"e", tree=2))):
        moves.add(other, uncertain=False)
        assert not moves.answered(other), number


def test_a_move_is_certain_again_after_the_answer_to_the_one_that_it_overlaps(moves):
    first = move(1, b"d", b"e")
    moves.add(first, uncertain=False)
    moves.answered(first)
    moves.add(move(2, b"e/b", b"c"), uncertain=False)
    assert not moves.answered(move(2, b"e/b", b"c"))


PATHS = st.lists(st.sampled_from([b"a", b"b"]), min_size=1, max_size=3).map(b"/".join)


@given(st.lists(st.tuples(PATHS, PATHS, st.integers(0, 3)), max_size=12))
def test_a_move_is_uncertain_if_one_that_was_in_flight_when_it_was_sent_overlaps_an_end(script):
    moves, in_flight = Moves(), []
    for number, (source, target, answers) in enumerate(script):
        expected = any(
            overlap(ours, theirs)
            for sent, _ in in_flight
            for theirs in (sent.key.path, sent.target)
            for ours in (source, target)
        )
        one = move(number, source, target)
        moves.add(one, uncertain=False)
        in_flight.append((one, expected))
        for _ in range(min(answers, len(in_flight))):
            answered, uncertain = in_flight.pop(0)
            assert moves.answered(answered) is uncertain
    while in_flight:
        answered, uncertain = in_flight.pop()
        assert moves.answered(answered) is uncertain
    assert not moves
