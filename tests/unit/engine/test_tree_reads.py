"""A removed tree counts as being read until its last read has ended."""

from contextlib import suppress

from replicator.engine.changes.tree_reads import TreeReads


def test_a_tree_is_being_read_until_the_last_of_its_reads_ends():
    reads = TreeReads({1: object()})
    with reads.reading(1):
        with reads.reading(1):
            assert reads.is_reading(1)
        assert reads.is_reading(1)
        assert not reads.is_reading(2)
    assert not reads.is_reading(1)


def test_a_tree_that_is_removed_while_it_is_read_is_waited_for_and_not_read_again():
    trees = {1: object()}
    reads = TreeReads(trees)
    with reads.reading(1) as tree:
        assert tree is trees.pop(1)
        assert reads.is_reading(1)
        with reads.reading(1) as again:
            assert again is None
    assert not reads.is_reading(1)


def test_a_read_that_fails_has_ended():
    reads = TreeReads({1: object()})
    with suppress(OSError), reads.reading(1):
        raise OSError
    assert not reads.is_reading(1)
