"""The member set: adds members at once, removes them slowly, and is never emptied by an error."""

from hypothesis import given
from hypothesis import strategies as st

from replicator.core.member_set import CONFIRMATIONS, MASS_CONFIRMATIONS, MemberSet

TEN = {n: str(n) for n in range(10)}


def without(*names):
    return {n: v for n, v in TEN.items() if n not in names}


def test_a_new_member_is_added_at_once():
    member_set = MemberSet()
    member_set.answer({1: "a"})
    member_set.answer({1: "b", 2: "c"})
    assert member_set.members == {1: "b", 2: "c"}


def test_two_consecutive_answers_without_a_member_remove_it_and_one_does_not():
    member_set = MemberSet(TEN)
    member_set.answer(without(3))
    assert 3 in member_set.members
    member_set.answer(without(3))
    assert member_set.members == without(3)


def test_misses_must_be_consecutive():
    member_set = MemberSet(TEN)
    for answer in (without(3), TEN, without(3)):
        member_set.answer(answer)
    assert member_set.members == TEN


def test_empty_answers_remove_no_member():
    member_set = MemberSet(TEN)
    for _ in range(100):
        member_set.answer({})
    assert member_set.members == TEN
    assert member_set.doubt == "the answer was empty: keeping 10"


def test_an_empty_answer_does_not_count_as_a_miss():
    member_set = MemberSet(TEN)
    for answer in (without(3), {}, without(3)):
        member_set.answer(answer)
    assert member_set.members == without(
        3
    )  # the empty one does not count: two good ones in a row agree


def test_an_incomplete_answer_adds_members_and_removes_none():
    member_set = MemberSet(TEN)
    for _ in range(10):
        member_set.answer({**without(3, 4), 11: "new"}, complete=False)
    assert member_set.members == {**TEN, 11: "new"}
    assert "incomplete" in member_set.doubt


def test_members_are_kept_while_more_than_half_are_missing_until_four_answers_agree():
    member_set = MemberSet(TEN)
    for _ in range(MASS_CONFIRMATIONS - 1):
        member_set.answer({0: "0"})
        assert member_set.members == TEN
        assert member_set.doubt.startswith("9 of 10 vanished at once")
    member_set.answer({0: "0"})
    assert member_set.members == {0: "0"}
    assert member_set.doubt == ""


def test_half_is_not_more_than_half():
    member_set = MemberSet({1: "a", 2: "b"})
    for _ in range(CONFIRMATIONS):
        member_set.answer({1: "a"})
    assert member_set.members == {1: "a"}


def test_a_member_reported_as_gone_is_removed_after_two_answers_and_recorded_as_dropped():
    member_set = MemberSet(TEN)
    member_set.answer(without(3), gone=[3])
    assert 3 in member_set.members
    assert not member_set.dropped
    member_set.answer(without(3), gone=[3])
    assert 3 not in member_set.members
    assert member_set.dropped == {3}


def test_a_member_reported_as_gone_in_incomplete_answers_is_removed():
    member_set = MemberSet(TEN)
    for _ in range(CONFIRMATIONS):
        member_set.answer(without(3, 4), gone=[3], complete=False)
    assert member_set.members == without(3)


def test_a_fleet_that_is_reported_as_gone_is_removed_after_four_answers():
    member_set = MemberSet({1: "a"})
    for _ in range(MASS_CONFIRMATIONS):
        member_set.answer({}, gone=[1])
    assert member_set.members == {}


def test_a_member_that_returns_is_not_dropped_any_more():
    member_set = MemberSet(TEN)
    for _ in range(CONFIRMATIONS):
        member_set.answer(without(3), gone=[3])
    member_set.answer(TEN)
    assert member_set.members == TEN
    assert not member_set.dropped


def test_an_operators_list_replaces_the_members_at_once_even_if_it_is_empty():
    member_set = MemberSet(TEN, certain=True)
    member_set.answer({1: "1"})
    assert member_set.members == {1: "1"}
    member_set.answer({})
    assert member_set.members == {}


answers = st.tuples(st.dictionaries(st.integers(0, 6), st.just("v")), st.booleans())


@given(st.lists(answers, max_size=30))
def test_every_address_of_the_last_two_answers_is_a_member(history):
    member_set = MemberSet()
    for present, complete in history:
        member_set.answer(present, complete=complete)
    for present, _ in history[-CONFIRMATIONS:]:
        assert set(present) <= set(member_set.members)


@given(st.lists(answers, max_size=30))
def test_members_come_from_answers_only_and_absence_never_removes_all(history):
    member_set = MemberSet()
    seen: set[int] = set()
    for present, complete in history:
        before = len(member_set.members)
        member_set.answer(present, complete=complete)
        seen |= set(present)
        assert set(member_set.members) <= seen
        assert member_set.members or not before
