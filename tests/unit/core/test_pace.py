"""Delays, rates and windows, with a clock that the test sets."""

from hypothesis import given
from hypothesis import strategies as st

from replicator.core.pace import Backoff, Slice, Streak, TokenBucket, Window


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


def sizes_after(*batches):
    """Return the sizes of the batches after some that took (seconds of the clock, seconds of CPU time)."""
    pace = Slice()
    sizes = []
    for seconds, cpu_seconds in batches:
        pace.took(seconds, cpu_seconds)
        sizes.append(pace.size)
    return sizes


def test_fast_batches_grow_to_the_size_of_a_transaction():
    assert sizes_after(*[(0.004, 0.003)] * 5) == [16, 32, 64, 64, 64]


def test_batches_of_large_files_shrink_to_single_files():
    assert sizes_after(*[(0.3, 0.2)] * 3) == [2, 1, 1]
    assert sizes_after(*[(0.04, 0.03)] * 2) == [8, 8]


def test_batches_of_a_slow_file_system_shrink():
    assert sizes_after(*[(0.3, 0.001)] * 3) == [2, 1, 1]


def test_batches_on_a_busy_machine_do_not_shrink():
    assert sizes_after(*[(0.07, 0.006)] * 4) == [16, 32, 64, 64]


def test_after_a_pause_batches_are_small_again():
    pace = Slice()
    for _ in range(3):
        pace.took(0.001, 0.001)
    pace.rested()
    assert pace.size == Slice.FIRST
