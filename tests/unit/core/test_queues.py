"""Queues: urgent before bulk, blocked paths at their time, and each path in one queue."""

import pytest

from replicator.core.pending import Key, PathState, Pending, PendingKind
from replicator.core.queues import Queues

A, B, C, D = (Key(1, name) for name in (b"a", b"b", b"c", b"d"))


@pytest.fixture
def queues():
    return Queues()


def waiting(queues, key, generation, *, urgent=False):
    pending = Pending(0.0)
    pending.generation = generation
    pending.kind = PendingKind.CONTENT
    queues.set_state(key, pending, PathState.WAITING, urgent=urgent)
    return pending


def take(queues, now=0.0, limit=10, is_cut=lambda _path: False):
    return [one.key for one in queues.take(now, limit, is_cut)]


def test_urgent_ones_go_first_and_each_is_taken_once(queues):
    for generation, key in enumerate((C, A), 1):
        waiting(queues, key, generation)
    waiting(queues, B, 3, urgent=True)

    assert take(queues, limit=2) == [B, C]
    assert take(queues) == [A]
    assert take(queues) == []


def test_a_cut_ends_what_is_taken_when_half_of_it_is_there(queues):
    for generation, key in enumerate((A, B, C, D), 1):
        waiting(queues, key, generation)

    assert take(queues, limit=4, is_cut=lambda path: path in (b"a", b"c")) == [A, B, C]


def test_what_becomes_urgent_changes_its_queue(queues):
    pending = waiting(queues, A, 1)
    waiting(queues, B, 2)
    assert queues.bulk_open == 2
    queues.set_state(A, pending, PathState.WAITING, urgent=True)

    assert queues.bulk_open == 1
    assert take(queues, limit=1) == [A]
    assert take(queues) == [B]


def test_a_blocked_one_waits_again_at_its_time_unless_it_was_marked_or_acknowledged_meanwhile(
    queues,
):
    records = {key: waiting(queues, key, number) for number, key in enumerate((A, B, C), 1)}
    take(queues)
    for key, pending in records.items():
        queues.block(key, pending, 5.0)
    assert queues.bulk_open == 0
    assert queues.next_retry() == 5.0
    assert [key for key, _ in queues.blocked()] == [A, B, C]

    records[B].generation = 4
    queues.set_state(B, records[B], PathState.SENT)
    queues.set_state(C, records[C], PathState.CLEAN)
    assert [key for key, _ in queues.blocked()] == [A]
    assert take(queues, now=4.9) == []
    assert take(queues, now=5.0) == [A]
    assert queues.next_retry() is None


def test_nothing_is_left_of_what_is_cleared(queues):
    pending = waiting(queues, A, 1)
    waiting(queues, B, 2)
    queues.block(A, pending, 5.0)
    queues.clear()

    assert take(queues, now=9.0) == []
    assert (queues.bulk_open, queues.next_retry()) == (0, None)
