"""DirtySet: a path is dirty until its current version is acknowledged; the set is bounded and ordered."""

import pytest

from replicator.core.dirty import DirtySet
from replicator.core.pending import Key, PendingKind
from replicator.core.queues import UNBLOCKED

A, B, C = Key(1, b"a"), Key(1, b"b"), Key(1, b"c")


@pytest.fixture
def dirty():
    return DirtySet()


def take(dirty, now=0.0, limit=10):
    return dirty.take(now, limit)


def test_a_path_is_clean_only_after_its_current_version_was_acknowledged(dirty):
    dirty.mark(A, PendingKind.CONTENT, 0, urgent=False)
    (pending,) = take(dirty)
    dirty.mark(A, PendingKind.CONTENT, 1, urgent=False)

    assert not dirty.acknowledged(A, pending.generation)
    assert A in dirty

    (pending,) = take(dirty)

    assert dirty.acknowledged(A, pending.generation)
    assert A not in dirty


def test_a_burst_on_one_path_is_one_path(dirty):
    for now in range(1000):
        dirty.mark(A, PendingKind.CONTENT, now, urgent=True)

    assert len(dirty) == 1
    assert len(take(dirty)) == 1
    assert dirty.oldest() == 0


def test_live_changes_go_before_bulk_in_the_order_of_marking(dirty):
    for key in (C, A):
        dirty.mark(key, PendingKind.CONTENT, 0, urgent=False)
    dirty.mark(B, PendingKind.CONTENT, 0, urgent=True)

    assert [pending.key for pending in take(dirty)] == [B, C, A]


def test_a_path_in_flight_is_sent_again_after_the_connection_is_lost(dirty):
    dirty.mark(A, PendingKind.CONTENT, 0, urgent=False)
    generation = dirty.mark_sent(B, 0)
    take(dirty)
    dirty.connection_lost()

    assert {pending.key for pending in take(dirty)} == {A, B}
    assert dirty.is_current(B, generation)


def test_a_blocked_path_is_taken_again_at_its_time(dirty):
    dirty.mark(A, PendingKind.ADOPT, 0, urgent=False)
    (pending,) = take(dirty)

    assert dirty.refused(A, pending.generation, PendingKind.CONTENT, "no_space: full") == 1

    dirty.block(A, 5.0)

    assert take(dirty, now=4.9) == []
    assert dirty.next_retry() == 5.0
    assert dirty.problems(10) == [(A, "no_space: full")]
    assert [(pending.key, pending.kind) for pending in take(dirty, now=5.0)] == [
        (A, PendingKind.CONTENT)
    ]


def test_blocked_paths_are_taken_in_the_order_of_marking_when_all_are_to_be_tried_now(dirty):
    for key, until in ((A, 9.0), (B, 5.0), (Key(1, b"again"), 7.0)):
        dirty.mark(key, PendingKind.CONTENT, 0, urgent=False)
        (pending,) = take(dirty)
        dirty.refused(key, pending.generation, PendingKind.CONTENT, "denied")
        dirty.block(key, until)
    dirty.mark(Key(1, b"again"), PendingKind.CONTENT, 1, urgent=False)

    dirty.retry_now()

    assert [pending.key for pending in take(dirty)] == [Key(1, b"again"), A, B]
    assert dirty.next_retry() is None
    assert dirty.refused(A, dirty.generation(A), PendingKind.CONTENT, "denied") == 2


def test_of_very_many_blocked_paths_some_are_queued_with_each_take_and_a_live_change_waits_for_none(
    dirty,
):
    keys = [Key(1, b"%d" % number) for number in range(3 * UNBLOCKED)]
    for key in keys:
        dirty.mark(key, PendingKind.CONTENT, 0, urgent=False)
    for number, pending in enumerate(take(dirty, limit=len(keys))):
        dirty.refused(pending.key, pending.generation, PendingKind.CONTENT, "denied")
        dirty.block(pending.key, 5.0 + number % 7)
    dirty.retry_now()
    dirty.mark(A, PendingKind.CONTENT, 0, urgent=True)
    assert take(dirty, limit=UNBLOCKED)[0].key == A
    assert len(dirty.problems(len(keys))) == len(keys), "they are still blocked"
    taken = []
    while dirty.next_retry() is not None:
        some = [pending.key for pending in take(dirty, limit=len(keys))]
        assert len(some) <= UNBLOCKED
        taken += some
    assert taken == keys


@pytest.mark.parametrize("in_the_way", ["marked again", "without a reason"])
def test_problems_are_shown_however_many_other_blocked_paths_there_are(dirty, in_the_way):
    keys = [Key(1, b"%d" % number) for number in range(100)]
    for key in (*keys, A):
        dirty.mark(key, PendingKind.CONTENT, 0, urgent=False)
    for pending in take(dirty, limit=101):
        reason = "denied" if pending.key == A or in_the_way == "marked again" else ""
        dirty.refused(pending.key, pending.generation, PendingKind.CONTENT, reason)
        dirty.block(pending.key, 9.0 if pending.key == A else 5.0)
    if in_the_way == "marked again":
        for key in keys:
            dirty.mark(key, PendingKind.CONTENT, 1, urgent=False)

    assert dirty.problems(10) == [(A, "denied")]


def test_a_path_that_was_blocked_twice_is_one_problem(dirty):
    dirty.mark(A, PendingKind.CONTENT, 0, urgent=False)
    (pending,) = take(dirty)
    dirty.refused(A, pending.generation, PendingKind.CONTENT, "denied")
    dirty.block(A, 5.0)
    dirty.block(A, 9.0)

    assert dirty.problems(10) == [(A, "denied")]


def test_a_refusal_of_an_earlier_version_is_ignored(dirty):
    dirty.mark(A, PendingKind.CONTENT, 0, urgent=False)
    (pending,) = take(dirty)
    dirty.mark(A, PendingKind.CONTENT, 0, urgent=False)

    assert dirty.refused(A, pending.generation, PendingKind.CONTENT, "denied") is None


def test_a_path_that_was_taken_and_not_sent_is_queued_again(dirty):
    dirty.mark(A, PendingKind.CONTENT, 0, urgent=False)
    (pending,) = take(dirty)
    dirty.put_back(A, pending.generation)

    assert take(dirty) == [pending]


def test_open_bulk_counts_what_was_marked_as_bulk_and_is_neither_done_nor_blocked(dirty):
    for key in (A, B, C):
        dirty.mark(key, PendingKind.CONTENT, 0, urgent=False)
    assert dirty.bulk_open == 3

    generations = {pending.key: pending.generation for pending in take(dirty)}
    dirty.acknowledged(A, generations[A])
    dirty.refused(B, generations[B], PendingKind.CONTENT, "denied")
    dirty.block(B, 9)
    dirty.mark_sent(C, 1)  # a live change took over

    assert dirty.bulk_open == 0
    assert len(dirty) == 2


def test_paths_below_a_renamed_directory_are_dirty_under_their_new_names(dirty):
    dirty.mark(Key(1, b"d/x"), PendingKind.CONTENT, 0, urgent=False)
    dirty.mark(Key(1, b"e/old"), PendingKind.CONTENT, 0, urgent=False)
    dirty.mark(Key(2, b"d/x"), PendingKind.CONTENT, 0, urgent=False)
    dirty.rename(Key(1, b"d"), Key(1, b"e"), 0)

    assert {pending.key for pending in take(dirty)} == {Key(1, b"e/x"), Key(2, b"d/x")}


def test_after_a_rename_a_version_in_flight_is_pending_by_digest_and_a_read_one_is_not_sent(dirty):
    sent = dirty.mark_sent(Key(1, b"d/sent"), 0)
    dirty.mark(Key(1, b"d/read"), PendingKind.CONTENT, 0, urgent=False)
    (read,) = take(dirty)
    dirty.rename(Key(1, b"d"), Key(1, b"e"), 0)

    assert not dirty.is_current(read.key, read.generation)
    assert not dirty.acknowledged(Key(1, b"d/sent"), sent)
    assert {pending.key.path: pending.kind for pending in take(dirty)} == {
        b"e/sent": PendingKind.ADOPT,
        b"e/read": PendingKind.CONTENT,
    }


def test_beyond_its_limit_the_set_is_emptied_and_overflowed():
    dirty = DirtySet(limit=10)
    for number in range(11):
        dirty.mark(Key(1, b"%d" % number), PendingKind.CONTENT, 0, urgent=False)

    assert dirty.overflowed
    assert len(dirty) == 1


def test_a_path_that_the_backend_cannot_read_is_no_lag(dirty):
    dirty.mark(A, PendingKind.CONTENT, 1, urgent=False)
    dirty.mark(B, PendingKind.CONTENT, 2, urgent=False)
    (generation,) = (pending.generation for pending in take(dirty) if pending.key == A)
    dirty.refused(A, generation, PendingKind.CONTENT, "permission denied on the backend")
    dirty.mark_unreadable(A)

    assert dirty.oldest() == 1
    assert dirty.oldest(sendable=True) == 2
    assert not dirty.has_refusals()

    dirty.mark(A, PendingKind.CONTENT, 3, urgent=False)  # it may be readable now
    assert dirty.oldest(sendable=True) == 1
    dirty.drop(A)
    dirty.drop(B)
    assert dirty.oldest(sendable=True) is None


def test_a_refusal_lasts_until_the_path_is_acknowledged(dirty):
    dirty.mark(A, PendingKind.CONTENT, 1, urgent=False)
    (pending,) = take(dirty)
    assert not dirty.has_refusals()
    dirty.refused(A, pending.generation, PendingKind.CONTENT, "no space left")
    assert dirty.has_refusals()
    dirty.acknowledged(A, pending.generation)
    assert not dirty.has_refusals()


class Unscanned(dict):
    def __iter__(self):
        raise AssertionError("all pending paths were scanned")

    items = keys = values = __iter__


def test_refusals_are_found_without_a_scan_of_all_paths(dirty):
    refused, unreadable, healing, again = (Key(1, b"%d" % number) for number in range(4))
    for key in (A, refused, unreadable, healing, again):
        dirty.mark(key, PendingKind.CONTENT, 0, urgent=False)
        if key is not A:
            dirty.refused(key, dirty.generation(key), PendingKind.CONTENT, "no space left")
    dirty.mark_unreadable(unreadable)
    dirty.set_reason(healing, "")
    dirty.set_reason(again, "")
    dirty.set_reason(again, "denied")
    dirty._pending = Unscanned(dirty._pending)
    assert list(dirty.refusals()) == [refused, again]
    dirty.drop(refused)
    dirty.drop(again)
    assert not dirty.has_refusals()
    assert dirty.has_reasons()
    dirty.drop(unreadable)
    assert not dirty.has_reasons()


def test_many_paths_below_a_directory_are_recognized_without_counting_all(dirty):
    for path in (b"d", b"d/a", b"d/b", b"d/deep/er/c", b"e/f"):
        dirty.mark(Key(1, path), PendingKind.CONTENT, 0.0, urgent=False)
    answers = {count: dirty.has_more_below(Key(1, b"d"), count) for count in range(5)}
    assert answers == {0: True, 1: True, 2: True, 3: False, 4: False}
    assert not dirty.has_more_below(Key(2, b"d"), 0)
    assert not dirty.has_more_below(Key(1, b"d/a"), 0)


def test_a_rename_does_not_scan_paths_elsewhere(dirty):
    for path in (b"elsewhere/x", b"old/x", b"old/deep/y", b"new/z"):
        dirty.mark(Key(1, path), PendingKind.CONTENT, 0.0, urgent=False)
    pending = dirty._pending
    dirty._pending = Unscanned(pending)
    dirty.rename(Key(1, b"old"), Key(1, b"new"), 1.0)
    assert {key.path for key in dict.keys(dirty._pending)} == {
        b"elsewhere/x",
        b"new/x",
        b"new/deep/y",
    }


def test_what_is_unconfirmed_since_a_time_is_found_at_and_below_a_path(dirty):
    below, late, other = Key(1, b"d/f"), Key(1, b"d/late"), Key(2, b"d/f")
    for key, now in ((A, 0), (below, 1), (other, 1), (late, 5)):
        dirty.mark(key, PendingKind.CONTENT, now, urgent=True)

    assert [key for key, _ in dirty.unconfirmed(Key(1, b"d"), 2)] == [below]
    assert [key for key, _ in dirty.unconfirmed(Key(1, b""), 2)] == [A, below]
    assert [key for key, _ in dirty.unconfirmed(Key(1, b"d/late"), 2)] == []

    dirty.mark(below, PendingKind.CONTENT, 6, urgent=True)

    assert [key for key, _ in dirty.unconfirmed(Key(1, b"d"), 2)] == [below]


def test_what_is_unconfirmed_stays_so_under_its_new_name(dirty):
    dirty.mark(Key(1, b"d/f"), PendingKind.CONTENT, 1, urgent=True)
    dirty.rename(Key(1, b"d"), Key(1, b"e"), 5)

    assert [key for key, _ in dirty.unconfirmed(Key(1, b""), 2)] == [Key(1, b"e/f")]


def test_the_oldest_path_is_as_old_under_a_new_name_until_it_is_clean(dirty):
    dirty.mark(Key(1, b"d/f"), PendingKind.CONTENT, 1, urgent=True)
    dirty.mark(Key(1, b"d/g"), PendingKind.CONTENT, 2, urgent=True)
    dirty.mark(A, PendingKind.CONTENT, 3, urgent=True)
    dirty.rename(Key(1, b"d"), Key(1, b"e"), 5)
    assert (dirty.oldest(), dirty.oldest(sendable=True)) == (1, 1)

    dirty.mark_unreadable(Key(1, b"e/f"))
    assert (dirty.oldest(), dirty.oldest(sendable=True)) == (1, 2)

    for path in (b"e/f", b"e/g"):
        dirty.drop(Key(1, path))
    assert (dirty.oldest(), dirty.oldest(sendable=True)) == (3, 3)

    dirty.rename(A, Key(1, b"h"), 6)
    dirty.clear()
    assert (dirty.oldest(), dirty.oldest(sendable=True)) == (None, None)


def test_nothing_of_a_held_tree_is_taken_and_everything_afterwards_in_the_order_of_marking(dirty):
    other = Key(2, b"z")
    dirty.mark(B, PendingKind.CONTENT, 0, urgent=True)
    dirty.hold({1})
    dirty.mark(other, PendingKind.CONTENT, 1, urgent=True)
    dirty.mark(A, PendingKind.CONTENT, 2, urgent=True)
    dirty.mark(C, PendingKind.CONTENT, 3, urgent=False)
    assert [pending.key for pending in take(dirty)] == [other]
    assert (len(dirty), dirty.bulk_open, dirty.oldest()) == (4, 0, 0)
    dirty.hold(())
    assert dirty.bulk_open == 1
    assert [pending.key for pending in take(dirty)] == [B, A, C]


def test_a_path_in_flight_when_its_tree_is_held_can_be_acknowledged_and_is_held_after_a_failure(
    dirty,
):
    for key in (A, B, C):
        dirty.mark(key, PendingKind.CONTENT, 0, urgent=True)
    a, b, c = take(dirty)
    dirty.hold({1})
    assert dirty.waiting_or_sent()
    assert dirty.acknowledged(A, a.generation)
    dirty.put_back(B, b.generation)
    assert dirty.refused(C, c.generation, PendingKind.CONTENT, "no") == 1
    dirty.block(C, 5.0)
    assert take(dirty, now=9.0) == []
    assert not dirty.waiting_or_sent()
    dirty.connection_lost()
    dirty.retry_now()
    assert take(dirty, now=9.0) == []
    dirty.hold(())
    assert {pending.key for pending in take(dirty, now=9.0)} == {B, C}


def test_paths_of_several_trees_are_taken_in_the_order_of_marking(dirty):
    keys = [Key(1 + number % 3, b"%d" % number) for number in range(9)]
    for key in keys:
        dirty.mark(key, PendingKind.CONTENT, 0, urgent=False)
    assert [pending.key for pending in take(dirty, limit=4)] == keys[:4]
    dirty.hold({2})
    assert [pending.key for pending in take(dirty)] == [key for key in keys[4:] if key.tree != 2]
    dirty.hold(())
    assert [pending.key for pending in take(dirty)] == [key for key in keys[4:] if key.tree == 2]


def test_what_was_marked_again_in_a_held_tree_delays_no_deletion_of_another(dirty):
    dirty.mark(A, PendingKind.CONTENT, 0, urgent=True)
    gone = Key(2, b"gone")
    dirty.mark(gone, PendingKind.CONTENT, 0, urgent=True, removal=True)
    generation = dirty.generation(gone)
    dirty.mark(A, PendingKind.CONTENT, 0, urgent=True)
    assert dirty.is_overtaking(gone, generation)
    dirty.hold({1})
    assert not dirty.is_overtaking(gone, generation)
    dirty.mark(A, PendingKind.CONTENT, 0, urgent=True)
    assert not dirty.is_overtaking(gone, generation)


def test_a_path_that_is_renamed_while_it_is_held_stays_held(dirty):
    dirty.hold({1})
    dirty.mark(Key(1, b"d/f"), PendingKind.CONTENT, 0, urgent=True)
    dirty.rename(Key(1, b"d"), Key(1, b"e"), 1)
    assert take(dirty) == []
    dirty.hold(())
    assert [pending.key.path for pending in take(dirty)] == [b"e/f"]


def test_a_deletion_is_taken_after_the_content_that_was_pending_before_even_if_that_was_marked_again(
    dirty,
):
    dirty.mark(A, PendingKind.CONTENT, 0, urgent=True)
    dirty.mark(B, PendingKind.CONTENT, 0, urgent=True, removal=True)
    dirty.mark(C, PendingKind.CONTENT, 0, urgent=True)  # what the new version of A needs
    dirty.mark(A, PendingKind.CONTENT, 1, urgent=True)
    assert [one.key for one in take(dirty, limit=2)] == [C, A]
    assert [one.key for one in take(dirty)] == [B]


def test_a_live_deletion_is_taken_after_bulk_and_not_in_one_batch_with_it(dirty):
    dirty.mark(B, PendingKind.CONTENT, 0, urgent=True, removal=True)
    dirty.mark(A, PendingKind.CONTENT, 0, urgent=False)
    assert [one.key for one in take(dirty)] == [A]
    assert [one.key for one in take(dirty)] == [B]


def test_a_deletion_does_not_wait_for_content_of_another_tree(dirty):
    deleted = Key(2, b"deleted")
    dirty.mark(deleted, PendingKind.CONTENT, 0, urgent=True, removal=True)
    for number in range(3):
        dirty.mark(Key(1, b"%d" % number), PendingKind.CONTENT, 0, urgent=False)
    batches = [[one.key for one in take(dirty, limit=1)] for _ in range(4)]
    assert [deleted] in batches[:2]
    assert take(dirty) == []


def test_paths_in_flight_are_taken_in_the_order_of_marking_after_a_loss_of_the_connection(dirty):
    for key in (A, B, A):  # what A needs was marked in between
        dirty.mark(key, PendingKind.CONTENT, 0, urgent=True)
    take(dirty)
    dirty.connection_lost()
    assert [one.key for one in take(dirty)] == [B, A]


def test_a_deletion_does_not_wait_for_a_refused_path(dirty):
    dirty.mark(A, PendingKind.CONTENT, 0, urgent=True)
    dirty.mark(B, PendingKind.CONTENT, 0, urgent=True, removal=True)
    take(dirty)
    dirty.block(A, 10.0)
    assert [one.key for one in take(dirty)] == [B]


def test_a_deleted_path_that_exists_again_is_content_again(dirty):
    dirty.mark(A, PendingKind.CONTENT, 0, urgent=True, removal=True)
    dirty.mark(B, PendingKind.CONTENT, 0, urgent=True)
    dirty.mark(A, PendingKind.CONTENT, 0, urgent=True)
    assert [one.key for one in take(dirty)] == [B, A]
    dirty.put_back(B, dirty.generation(B))
    assert dirty.has_waiting_content(A.tree)


def test_deletions_below_a_directory_that_a_file_replaces_do_not_wait(dirty):
    below, beside = Key(1, b"a/d/f"), Key(1, b"ab")
    for key in (below, beside):
        dirty.mark(key, PendingKind.CONTENT, 0, urgent=True, removal=True)
    dirty.mark(B, PendingKind.CONTENT, 0, urgent=True)
    dirty.hasten_removals(A, 10)
    assert [one.key for one in take(dirty)] == [B, below]
    assert [one.key for one in take(dirty)] == [beside]


def test_a_deletion_overtakes_what_was_marked_again_later_until_that_is_sent(dirty):
    for key, removal in ((A, False), (B, True), (A, False), (C, True)):
        dirty.mark(key, PendingKind.CONTENT, 0, urgent=True, removal=removal)
    taken = {one.key: one.generation for one in take(dirty) + take(dirty)}
    assert [key for key in taken if dirty.is_overtaking(key, taken[key])] == [B]
    dirty.sent(A)
    assert not any(dirty.is_overtaking(key, taken[key]) for key in taken)
