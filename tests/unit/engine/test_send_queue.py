"""SendQueue: live changes before bulk, bulk in turns, and no copy of a file that has changed since the copy was queued."""

import pytest

from replicator.core.dirty import DirtySet
from replicator.core.pending import Key, PendingKind
from replicator.engine.changes.create import link_change
from replicator.engine.changes.encode import ChangeRef, encode_links
from replicator.engine.frontend.in_flight import InFlight
from replicator.engine.frontend.send_queue import Outgoing, SendQueue
from replicator.model import FILE, Entry

ENTRY = Entry(FILE, 0o644, 5 << 20, 7, b"", b"d" * 32)
BASE, COPY, OTHER = Key(1, b"base"), Key(1, b"copy"), Key(1, b"other")


class Waiting:
    """Queued copies of a base, and the dirty paths of the frontend."""

    def __init__(self):
        self.dirty = DirtySet()
        self.queue = SendQueue(self.dirty)

    def add(self, key=COPY, base=b"base"):
        (encoded,) = encode_links([link_change(key.tree, key.path, ENTRY, base, copy=True)])
        (part,) = encoded.parts
        change = InFlight(part, self.dirty.mark_sent(key, 0.0), bulk=False)
        self.queue.add_copies(Outgoing(encoded.frames, (change,)))

    def change(self, key=BASE):
        return self.dirty.mark(key, PendingKind.CONTENT, 0.0, urgent=False)

    def answer(self, key, generation):
        self.dirty.acknowledged(key, generation)
        self.queue.answered(key, generation)

    def take(self):
        """Return the path of the next copy, and whether it is current."""
        outgoing, current = self.queue.take_bulk()
        return outgoing.changes[0].part.key, current


@pytest.fixture
def waiting():
    return Waiting()


def test_trees_take_turns_and_each_keeps_its_order(waiting):
    keys = [Key(tree, b"%d" % n) for tree in (1, 2) for n in range(3)]
    for key in keys:
        waiting.add(key)
    taken = [waiting.take() for _ in keys]
    assert taken == [(Key(tree, b"%d" % n), True) for n in range(3) for tree in (1, 2)]
    assert not waiting.queue.has_bulk
    assert waiting.queue.live_bytes == 0


@pytest.mark.parametrize("key", [COPY, BASE])
def test_a_copy_is_not_current_after_its_path_or_its_base_was_marked_again(waiting, key):
    waiting.add()
    waiting.change(key)
    assert waiting.take() == (COPY, False)


@pytest.mark.parametrize("key", [COPY, BASE])
def test_a_copy_is_not_current_after_another_version_of_its_path_or_base_has_arrived(waiting, key):
    waiting.add()
    waiting.answer(key, waiting.change(key))
    assert key not in waiting.dirty or key == BASE
    assert waiting.take() == (COPY, False)
    waiting.add()  # compared with the new version
    assert waiting.take() == (COPY, True)


def test_a_base_that_was_in_flight_before_may_arrive_meanwhile(waiting):
    generation = waiting.dirty.mark_sent(BASE, 0.0)
    waiting.add()
    waiting.add(OTHER)
    assert waiting.take() == (COPY, True)
    waiting.answer(BASE, generation)
    assert waiting.take() == (OTHER, True)


def test_a_change_elsewhere_does_not_matter(waiting):
    waiting.add()
    waiting.answer(OTHER, waiting.change(OTHER))
    waiting.queue.moved(2, waiting.change(Key(2, b"d")))
    assert waiting.take() == (COPY, True)


def test_a_copy_is_not_current_after_a_move_in_its_tree(waiting):
    waiting.add()
    waiting.queue.moved(1, waiting.change(Key(1, b"directory")))
    waiting.add(OTHER)
    assert [waiting.take(), waiting.take()] == [(COPY, False), (OTHER, True)]


def test_a_copy_whose_path_was_cleared_is_not_current(waiting):
    waiting.add()
    waiting.dirty.clear()
    assert waiting.take() == (COPY, False)


def test_prepared_frames_and_copies_take_turns(waiting):
    for number in range(3):
        key = Key(1, b"prepared%d" % number)
        change = InFlight(ChangeRef(number, key), waiting.change(key), bulk=True)
        waiting.queue.add_prepared(Outgoing((b"frame",), (change,)))
        waiting.add(Key(1, b"copy%d" % number))
    taken = [waiting.take() for _ in range(6)]
    assert taken == [
        (Key(1, b"%s%d" % (kind, number)), True)
        for number in range(3)
        for kind in (b"copy", b"prepared")
    ]
