"""The roster: adds at once, takes away slowly, and is never emptied by an error."""

from hypothesis import given
from hypothesis import strategies as st

from replicator.core.roster import MASS_PATIENCE, PATIENCE, Roster

TEN = {n: str(n) for n in range(10)}


def without(*names):
    return {n: v for n, v in TEN.items() if n not in names}


def test_whoever_appears_is_a_member_at_once():
    roster = Roster()
    roster.answer({1: "a"})
    roster.answer({1: "b", 2: "c"})
    assert roster.members == {1: "b", 2: "c"}


def test_one_answer_without_a_member_drops_nobody_and_two_in_a_row_do():
    roster = Roster(TEN)
    roster.answer(without(3))
    assert 3 in roster.members
    roster.answer(without(3))
    assert roster.members == without(3)


def test_misses_must_be_in_a_row():
    roster = Roster(TEN)
    for answer in (without(3), TEN, without(3)):
        roster.answer(answer)
    assert roster.members == TEN


def test_an_empty_answer_drops_nobody_however_often_it_comes():
    roster = Roster(TEN)
    for _ in range(100):
        roster.answer({})
    assert roster.members == TEN
    assert roster.doubt == "the answer was empty: keeping 10"


def test_an_empty_answer_does_not_count_as_a_miss():
    roster = Roster(TEN)
    for answer in (without(3), {}, without(3)):
        roster.answer(answer)
    assert roster.members == without(3)  # the empty one said nothing: two good ones in a row agree


def test_an_incomplete_answer_adds_and_drops_nobody():
    roster = Roster(TEN)
    for _ in range(10):
        roster.answer({**without(3, 4), 11: "new"}, complete=False)
    assert roster.members == {**TEN, 11: "new"}
    assert "incomplete" in roster.doubt


def test_more_than_half_gone_at_once_is_held_until_it_is_confirmed():
    roster = Roster(TEN)
    for _ in range(MASS_PATIENCE - 1):
        roster.answer({0: "0"})
        assert roster.members == TEN
        assert roster.doubt.startswith("9 of 10 vanished at once")
    roster.answer({0: "0"})
    assert roster.members == {0: "0"}
    assert roster.doubt == ""


def test_half_is_not_more_than_half():
    roster = Roster({1: "a", 2: "b"})
    for _ in range(PATIENCE):
        roster.answer({1: "a"})
    assert roster.members == {1: "a"}


def test_whoever_is_said_to_be_gone_is_dropped_as_slowly_and_remembered_as_dropped():
    roster = Roster(TEN)
    roster.answer(without(3), gone=[3])
    assert 3 in roster.members
    assert not roster.dropped
    roster.answer(without(3), gone=[3])
    assert 3 not in roster.members
    assert roster.dropped == {3}


def test_whoever_is_said_to_be_gone_in_incomplete_answers_is_dropped_too():
    roster = Roster(TEN)
    for _ in range(PATIENCE):
        roster.answer(without(3, 4), gone=[3], complete=False)
    assert roster.members == without(3)


def test_a_fleet_that_is_said_to_be_gone_whole_is_dropped_once_that_is_confirmed():
    roster = Roster({1: "a"})
    for _ in range(MASS_PATIENCE):
        roster.answer({}, gone=[1])
    assert roster.members == {}


def test_whoever_comes_back_is_not_dropped_any_more():
    roster = Roster(TEN)
    for _ in range(PATIENCE):
        roster.answer(without(3), gone=[3])
    roster.answer(TEN)
    assert roster.members == TEN
    assert not roster.dropped


def test_a_persons_word_is_taken_at_once_also_when_it_is_nobody():
    roster = Roster(TEN, certain=True)
    roster.answer({1: "1"})
    assert roster.members == {1: "1"}
    roster.answer({})
    assert roster.members == {}


answers = st.tuples(st.dictionaries(st.integers(0, 6), st.just("v")), st.booleans())


@given(st.lists(answers, max_size=30))
def test_whoever_was_in_one_of_the_last_two_answers_is_a_member(history):
    roster = Roster()
    for present, complete in history:
        roster.answer(present, complete=complete)
    for present, _ in history[-PATIENCE:]:
        assert set(present) <= set(roster.members)


@given(st.lists(answers, max_size=30))
def test_members_never_come_from_nowhere_and_are_never_emptied_by_absence(history):
    roster = Roster()
    seen: set[int] = set()
    for present, complete in history:
        before = len(roster.members)
        roster.answer(present, complete=complete)
        seen |= set(present)
        assert set(roster.members) <= seen
        assert roster.members or not before
