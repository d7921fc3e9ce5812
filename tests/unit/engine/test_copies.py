"""Copies that wait: trees take turns, and nothing is copied from a file that has changed since it was said to be the same."""

import pytest

from replicator.core.dirty import DirtySet
from replicator.core.pending import Key, PendingKind
from replicator.engine.changes.create import link_file
from replicator.engine.changes.encode import encode_links
from replicator.engine.frontend.copies import Copies
from replicator.model import FILE, Entry

ENTRY = Entry(FILE, 0o644, 5 << 20, 7, b"", b"d" * 32)
BASE, COPY, OTHER = Key(1, b"base"), Key(1, b"copy"), Key(1, b"other")


class Waiting:
    """Copies of a base that wait, and what the frontend is owed."""

    def __init__(self):
        self.dirty = DirtySet()
        self.copies = Copies(self.dirty)

    def add(self, key=COPY, base=b"base"):
        (encoded,) = encode_links([link_file(key.tree, key.path, ENTRY, base, copy=True)])
        self.copies.add(encoded, [self.dirty.mark_sent(key, 0.0)])

    def change(self, key=BASE):
        return self.dirty.mark(key, PendingKind.CONTENT, 0.0, urgent=False)

    def answer(self, key, generation):
        self.dirty.acknowledged(key, generation)
        self.copies.answered(key, generation)

    def take(self):
        """Return whose turn it is, and whether it may be sent."""
        encoded, _, current = self.copies.take()
        return encoded.parts[0].key, current


@pytest.fixture
def waiting():
    return Waiting()


def test_trees_take_turns_and_each_keeps_its_order(waiting):
    keys = [Key(tree, b"%d" % n) for tree in (1, 2) for n in range(3)]
    for key in keys:
        waiting.add(key)
    taken = [waiting.take() for _ in keys]
    assert taken == [(Key(tree, b"%d" % n), True) for n in range(3) for tree in (1, 2)]
    assert not waiting.copies


@pytest.mark.parametrize("key", [COPY, BASE])
def test_a_copy_is_not_sent_once_its_path_or_its_base_is_owed_anew(waiting, key):
    waiting.add()
    waiting.change(key)
    assert waiting.take() == (COPY, False)


@pytest.mark.parametrize("key", [COPY, BASE])
def test_nor_once_another_version_of_them_has_arrived(waiting, key):
    waiting.add()
    waiting.answer(key, waiting.change(key))
    assert key not in waiting.dirty or key == BASE
    assert waiting.take() == (COPY, False)
    waiting.add()  # what is found later was found of that version
    assert waiting.take() == (COPY, True)


def test_a_base_that_was_on_its_way_before_may_arrive_meanwhile(waiting):
    generation = waiting.dirty.mark_sent(BASE, 0.0)
    waiting.add()
    waiting.add(OTHER)
    assert waiting.take() == (COPY, True)
    waiting.answer(BASE, generation)
    assert waiting.take() == (OTHER, True)


def test_what_changes_elsewhere_does_not_matter(waiting):
    waiting.add()
    waiting.answer(OTHER, waiting.change(OTHER))
    waiting.copies.moved(2, waiting.change(Key(2, b"d")))
    assert waiting.take() == (COPY, True)


def test_after_a_rename_in_the_tree_no_name_is_what_it_was(waiting):
    waiting.add()
    waiting.copies.moved(1, waiting.change(Key(1, b"directory")))
    waiting.add(OTHER)
    assert [waiting.take(), waiting.take()] == [(COPY, False), (OTHER, True)]


def test_what_is_owed_no_more_is_not_sent(waiting):
    waiting.add()
    waiting.dirty.clear()
    assert waiting.take() == (COPY, False)
