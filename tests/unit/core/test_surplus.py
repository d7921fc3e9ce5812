"""How much of what one frontend has beyond the source goes without a question."""

import pytest

from replicator.core.guard import FREE, STEADY
from replicator.core.surplus import COARSE, LONGEST, RATE, WINDOW, Surplus
from tests.support.memory import remembered


def judge(surplus, found, left, now=0.0, *, complete=True):
    return surplus.judge(found, left, now, complete=complete)


def ask(surplus, found, left, now=0.0, took=0.0):
    """Compare a whole tree, and have the surplus kept."""
    text = judge(surplus, found, left, now)
    assert "replicator resume" in text
    surplus.kept(found, left, now, took)
    return text


@pytest.mark.parametrize(
    ("found", "left", "goes"),
    [
        (FREE, 1, True),
        (FREE + 1, 1, False),
        (500, 500, True),
        (501, 500, False),
        (1, 0, False),  # perhaps a volume that is not mounted
    ],
)
def test_a_hundred_go_and_half_of_the_tree(found, left, goes):
    assert (judge(Surplus(0.5), found, left) == "") is goes


def test_what_many_comparisons_remove_counts_together_until_an_hour_has_passed():
    surplus = Surplus(0.5)
    assert judge(surplus, 60, 10, complete=False) == ""
    assert judge(surplus, 40, 10, COARSE + 1) == ""
    assert "1 of 11" in (text := judge(surplus, 1, 10, COARSE + 2))
    assert "after 100 within an hour" in text
    assert judge(surplus, 60, 10, WINDOW + 1) == ""
    assert judge(surplus, 1, 10, WINDOW + 2) != ""


def test_many_removals_take_little_memory():
    surplus = Surplus(0.5)
    for number in range(10_000):
        assert judge(surplus, 1, 100_000, number / 10, complete=False) == ""
    assert remembered(surplus) < 1000


def test_once_asked_a_directory_loses_nothing_and_other_paths_make_nothing_acceptable():
    surplus = Surplus(0.5)
    assert "290 of 300" in ask(surplus, 290, 10)
    assert judge(surplus, 1, 10, 5.0, complete=False) != ""
    assert judge(surplus, 290, 100_000, STEADY + 1) != ""
    surplus.over()
    assert judge(surplus, 290, 100_000, STEADY + 1) == ""


def test_what_is_acceptable_after_a_question_goes_when_its_number_is_steady():
    surplus = Surplus(0.5)
    ask(surplus, 290, 10)
    ask(surplus, 90, 210, 10.0)
    ask(surplus, 80, 220, 10.0 + STEADY)
    assert judge(surplus, 80, 220, 9.0 + 2 * STEADY) != ""
    assert judge(surplus, 80, 220, 10.0 + 2 * STEADY, complete=False) != ""
    assert judge(surplus, 80, 220, 10.0 + 2 * STEADY) == ""


def test_what_an_empty_source_has_asked_about_goes_when_the_source_has_held_something_for_a_while():
    """A volume that is mounted again is read during this check."""
    surplus = Surplus(0.5)
    ask(surplus, 60, 0)
    ask(surplus, 60, 0, STEADY)
    assert surplus.is_due(1, STEADY)
    ask(surplus, 60, 1, 2 * STEADY)
    ask(surplus, 60, 5, 3 * STEADY - 1)
    assert judge(surplus, 60, 9, 3 * STEADY) == ""


def test_another_comparison_is_due_when_the_source_has_grown_by_what_is_too_much():
    surplus = Surplus(0.5)
    assert not surplus.is_due(10**6, 10**6)
    ask(surplus, 290, 10)
    assert surplus.asks
    assert not surplus.is_due(149, 1.0)
    assert surplus.is_due(150, 1.0)
    ask(surplus, 150, 150, 1.0)  # acceptable now, but not steady: all of it may come
    assert not surplus.is_due(299, 2.0)
    assert surplus.is_due(300, 2.0)


def test_growth_by_other_paths_makes_comparisons_rarer_but_all_that_is_missing_one_due():
    surplus = Surplus(0.5)
    left, growths = 100, []
    for now in range(8):
        ask(surplus, 301, left, float(now))
        growths.append(next(n for n in range(1000) if surplus.is_due(left + n, now + 0.5)))
        left += growths[-1]
    assert growths == [101, 202, 301, 301, 301, 301, 301, 301]


def test_comparisons_become_rarer_while_nothing_changes_and_their_cost_is_bounded():
    surplus, now, pauses = Surplus(0.5), 0.0, []
    for _ in range(10):
        ask(surplus, 290, 10, now)
        pause = next(p for p in range(10_000) if surplus.is_due(10, now + p))
        pauses.append(pause)
        now += pause
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (STEADY, LONGEST)

    ask(surplus, 280, 20, now, took=10.0)
    assert not surplus.is_due(10_000, now + RATE * 10.0 - 1)
    assert surplus.is_due(10_000, now + RATE * 10.0)
    surplus.over()
    assert not surplus.asks
