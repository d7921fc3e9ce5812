"""The backlog: nothing waits for ever, and a small change not for a large one."""

from hypothesis import given
from hypothesis import strategies as st

from replicator.core.backlog import Backlog

LIMIT = 8


def filled(directories, files, *, low_priority=False):
    backlog = Backlog()
    for directory in range(directories):
        for file in range(files):
            backlog.add(b"bulk/%d/%d" % (directory, file), low_priority=low_priority)
    return backlog


def test_few_paths_are_taken_in_order():
    backlog = filled(1, LIMIT)
    assert backlog.take(LIMIT) == [b"bulk/0/%d" % file for file in range(LIMIT)]
    assert len(backlog) == 0


def test_a_path_of_another_directory_is_in_the_next_slice():
    backlog = filled(100, 10)
    backlog.add(b"uploads/new", low_priority=False)
    assert b"uploads/new" in backlog.take(LIMIT)


def test_the_smallest_directory_is_taken_first_in_each_slice_also_after_it_was_taken_from():
    backlog = Backlog()
    for number in range(50):
        backlog.add(b"in-root-%d" % number, low_priority=False)
    for directory, files in ((b"large", 100), (b"small", 6), (b"middle", 20)):
        for file in range(files):
            backlog.add(b"%s/%d" % (directory, file), low_priority=False)
    taken = backlog.take(8) + backlog.take(8)
    assert [path for path in taken if b"in-root" not in path] == [
        *(b"small/%d" % file for file in (5, 4, 3, 2, 1, 0)),
        b"middle/19",
        b"middle/18",
    ]
    backlog.add(b"middle/new", low_priority=False)
    assert backlog.take(2)[0] == b"middle/new"


def test_new_content_comes_before_attributes_also_in_the_same_directory():
    backlog = filled(100, 3, low_priority=True)
    backlog.add(b"bulk/5/new", low_priority=False)
    backlog.add(b"bulk/6/0", low_priority=False)  # waits for its attributes, and is written now
    assert {b"bulk/5/new", b"bulk/6/0"} <= set(backlog.take(LIMIT))


def test_the_oldest_path_is_in_each_slice():
    backlog = filled(1, 500, low_priority=True)
    waiting = [b"bulk/0/%d" % file for file in range(500)]
    for turn in range(20):
        for file in range(50):
            backlog.add(b"uploads/%d/%d" % (turn, file), low_priority=False)
        taken = backlog.take(LIMIT)
        assert waiting[0] in taken
        waiting = [path for path in waiting if path not in taken]


def test_the_cost_of_a_small_directory_does_not_depend_on_large_ones():
    backlog = filled(1, 5000)
    backlog.add(b"uploads/new", low_priority=False)
    assert len(backlog._smallest) == 2, "one entry for each directory, not for each path"
    assert backlog.take(LIMIT)[0] == b"uploads/new"


def test_has_content_of_is_true_until_all_content_up_to_a_number_was_taken():
    backlog = filled(2, LIMIT)
    backlog.add(b"bulk/0/0", low_priority=True)
    for path in range(100):
        backlog.add(b"attributes/%d" % path, low_priority=True)
    last = backlog.last
    backlog.add(b"later", low_priority=False)
    assert not Backlog().has_content_of(last)
    waiting = {b"bulk/%d/%d" % (directory, file) for directory in range(2) for file in range(LIMIT)}
    while waiting:
        assert backlog.has_content_of(last)
        waiting.difference_update(backlog.take(2))
    assert not backlog.has_content_of(last)
    assert len(backlog) > LIMIT, "attributes are not waited for"


changes = st.tuples(
    st.sampled_from(["add", "minor", "remove", "take"]),
    st.sampled_from([b"a/%d" % n for n in range(6)] + [b"b/%d" % n for n in range(3)] + [b"c"]),
)


@given(st.lists(changes, max_size=80))
def test_each_path_is_taken_once(script):
    backlog, there = Backlog(), set()
    for what, path in script:
        if what == "remove":
            backlog.remove(path)
            there.discard(path)
        elif what == "take":
            taken = backlog.take(3)
            assert len(taken) == len(set(taken)) == min(3, len(there))
            assert set(taken) <= there
            there -= set(taken)
        else:
            backlog.add(path, low_priority=what == "minor")
            there.add(path)
        assert len(backlog) == len(there)
    assert set(backlog.take(None)) == there
    assert not backlog._groups
