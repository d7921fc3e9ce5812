"""Which scans the guard rejects, and which deletions it holds back."""

import pytest

from replicator.core.guard import (
    CALM,
    FREE,
    HOLD,
    MANY,
    REMEMBERED,
    YOUNG,
    DeleteGuard,
    rejection,
)
from tests.support.memory import remembered


def test_a_scan_of_an_empty_source_is_rejected():
    assert "mounted" in rejection(known=3, met=0, vanished=3, replaced=False)


def test_a_scan_of_another_directory_without_most_known_paths_is_rejected():
    assert "another directory" in rejection(known=10, met=50, vanished=6, replaced=True)


@pytest.mark.parametrize(
    ("known", "met", "vanished", "replaced"),
    [
        (0, 0, 0, False),  # never held anything
        (1000, 1, 999, False),  # files were removed while the daemon was stopped
        (10, 10, 0, True),  # the same files on another device number
        (10, 5, 5, True),
    ],
)
def test_any_other_scan_is_accepted(known, met, vanished, replaced):
    assert rejection(known=known, met=met, vanished=vanished, replaced=replaced) == ""


def names(numbers):
    return [b"%d" % number for number in numbers]


class TestDeleteGuard:
    """Delete `gone` of `tree` paths, a few at a time."""

    def go(self, guard, tree, gone, *, step=64, now=100.0, created=0):
        """Return how many passed at once."""
        passed = done = 0
        while done < gone:
            some = names(range(done, min(gone, done + step)))
            done += len(some)
            passed += len(guard.admit(some, now))
            if guard.needs_decision and not guard.decide(tree - done + created):
                guard.withhold()
        return passed

    def test_the_first_hundred_deletions_pass(self):
        guard = DeleteGuard(0.5)
        assert self.go(guard, 100, 100, step=10) == 100
        assert not guard.holding
        assert not guard.paused

    def test_further_deletions_are_held_and_released_if_they_are_not_too_many(self):
        guard = DeleteGuard(0.5)
        assert self.go(guard, 1000, 400) == 64
        assert guard.holding
        assert not guard.is_ripe(101.0)
        assert guard.is_ripe(100.0 + CALM + 1)
        assert guard.decide(600)
        assert list(guard.release()) == names(range(64, 400))
        assert not guard.holding

    @pytest.mark.parametrize("step", [1, 64, 1000])
    def test_losing_more_than_the_share_pauses_after_a_hundred_deletions(self, step):
        guard = DeleteGuard(0.5)
        assert self.go(guard, 1000, 501, step=step) <= FREE
        if not guard.paused:  # it is checked at intervals, and before anything is released
            guard.decide(499)
        assert guard.paused
        assert (guard.lost, guard.before) == (501, 1000)
        assert not guard.release()
        assert guard.admit([b"1"], 200.0) == ()

    def test_a_tree_that_was_copied_before_it_was_removed_has_lost_nothing(self):
        guard = DeleteGuard(0.5)
        self.go(guard, 1000, 1000, created=1000)
        assert guard.decide(1000)
        assert not guard.paused

    def test_paths_added_and_removed_in_one_burst_are_no_loss(self):
        guard, now = DeleteGuard(0.5), 100.0
        for release in range(1, 10):  # each of 300 paths, in a tree with 300 others
            guard.added((b"%d/%d" % (release, number) for number in range(300)), now)
            guard.admit([b"%d/%d" % (release - 1, number) for number in range(300)], now + 0.5)
            if guard.needs_decision:
                assert guard.decide(600)
            now += 0.6
        assert guard.decide(600)
        assert (guard.lost, guard.before) == (300, 900)

    def test_new_paths_do_not_hide_a_loss(self):
        guard = DeleteGuard(0.5)
        guard.added((b"new/%d" % number for number in range(500)), 100.0)
        self.go(guard, 1000, 1000, created=500)
        assert not guard.decide(500)
        assert (guard.lost, guard.before) == (1000, 1500)

    def test_paths_added_before_a_burst_count_as_lost(self):
        guard = DeleteGuard(0.5)
        guard.added(names(range(1000)), 100.0 - YOUNG - 0.1)
        self.go(guard, 1000, 1000)
        assert not guard.decide(0)

    def test_the_number_of_remembered_new_paths_is_bounded(self):
        guard = DeleteGuard(0.5)
        guard.added(names(range(REMEMBERED)), 100.0)
        most = remembered(guard)
        guard.added(names(range(REMEMBERED, 2 * REMEMBERED)), 100.0)
        assert remembered(guard) < 1.5 * most
        guard.added([b"0"], 100.0 + YOUNG + 0.1)
        assert remembered(guard) < 1000

    def test_a_confirmed_burst_passes_and_the_next_is_guarded_again(self):
        guard = DeleteGuard(0.5)
        self.go(guard, 1000, 900)
        assert guard.paused
        guard.confirm(101.0)
        assert guard.admit(names(range(500)), 102.0) == names(range(500))
        later = 102.0 + CALM + 1
        assert self.go(guard, 1000, 900, now=later) <= FREE
        assert guard.paused

    def test_a_confirmation_ends_with_its_burst(self):
        guard = DeleteGuard(0.5)
        self.go(guard, 1000, 900)
        guard.confirm(101.0)
        assert self.go(guard, 1000, 900, now=101.0 + CALM + 1) <= FREE

    def test_slow_deletions_are_never_held(self):
        guard, now, left, passed = DeleteGuard(0.5), 100.0, 3000, 0
        while left:
            now, left = now + 0.5, left - 1
            passed += len(guard.admit(names([left]), now))
            if guard.needs_decision:
                assert guard.decide(left)
            if guard.is_ripe(now):
                assert guard.decide(left)
                passed += len(guard.release())
        assert passed + len(guard.held) == 3000

    def test_held_deletions_are_released_under_continuous_churn(self):
        guard, now, passed = DeleteGuard(0.5), 100.0, 0
        for number in range(20_000):  # a hundred a second
            now += 0.01
            passed += len(guard.admit(names([number]), now))
            if guard.needs_decision:
                assert guard.decide(1000)
            if guard.is_ripe(now):
                assert guard.decide(1000)
                passed += len(guard.release())
        assert not guard.paused
        assert passed >= 20_000 - HOLD * 100 - 1

    def test_paths_that_return_within_the_burst_are_no_loss(self):
        guard = DeleteGuard(0.5)
        guard.admit(names(range(101)), 100.0)
        assert guard.decide(0, over=False)
        assert guard.decide(101)
        assert not guard.paused

    def test_a_very_large_loss_pauses_before_the_burst_is_over(self):
        guard = DeleteGuard(0.5)
        guard.admit(names(range(MANY)), 100.0)
        assert not guard.decide(0, over=False)
        assert guard.paused

    def test_a_share_of_one_disables_the_guard(self):
        guard = DeleteGuard(1.0)
        assert self.go(guard, 1000, 1000) == 1000
