"""Delays, rates and windows, with a clock that the test sets."""

from hypothesis import given
from hypothesis import strategies as st

from replicator.core.pace import Backoff, Streak, TokenBucket, Window


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_delays_double_up_to_the_cap_and_never_vanish(attempts, chance):
    delay = Backoff(0.5, 30.0, lambda: chance).delay(attempts)

    assert 0.05 <= delay <= 30.0
    assert delay <= 0.5 * 2.0 ** min(attempts - 1, 10) + 1e-9


@given(st.lists(st.integers(1, 5_000_000), min_size=1, max_size=30))
def test_a_budget_holds_over_any_sequence(sizes):
    rate = 1_000_000.0
    bucket, now = TokenBucket(rate), 0.0
    for size in sizes:
        now += bucket.delay(size, now)

    assert sum(sizes) <= rate * now + rate * TokenBucket.BURST_SECONDS + 1


def test_without_a_rate_there_is_no_delay():
    assert TokenBucket(None).delay(10**12, 5.0) == 0.0


def test_the_window_follows_the_answers_within_its_bounds():
    window = Window()
    for _ in range(100):
        window.answered(0.001)
    assert window.size == Window.MOST

    for _ in range(100):
        window.answered(1.0)
    assert window.size == Window.LEAST


def test_a_window_has_room_for_frames_that_were_not_processed_yet():
    window = Window()
    assert window.has_room(10 * window.size)  # no frame waits for an answer
    window.sent(window.size, 0.0)
    assert not window.has_room(window.size)

    assert not window.took(window.size - 1, 1.0)  # a part of the frame
    assert window.has_room(window.size)
    size = window.size
    assert window.took(window.size, 1.0)
    assert window.size < size  # it was slow
    assert window.taken == size


def test_a_success_resets_the_count_of_failures_only_if_it_lasts():
    streak = Streak()
    assert [streak.failed(now) for now in (1.0, 2.0)] == [1, 2]
    streak.succeeded(3.0)
    assert streak.failed(4.0) == 3

    streak.succeeded(5.0)
    streak.succeeded(5.0 + Streak.STEADY)  # it still is there
    assert streak.failed(5.0 + Streak.STEADY) == 1
    assert streak.failed(100.0) == 2
