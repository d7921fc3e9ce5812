"""The set of paths: like a list without duplicates, and fast below a directory."""

from hypothesis import given
from hypothesis import strategies as st

from replicator.core.path_set import PathIndex, PathSet
from replicator.model import is_within, renamed

PATHS = st.lists(st.sampled_from([b"a", b"b", b"c\xff"]), max_size=4).map(b"/".join)
SCRIPT = st.lists(
    st.tuples(st.sampled_from(["add", "discard"]), PATHS)
    | st.tuples(st.just("rename"), PATHS, PATHS).filter(lambda one: one[1] and not is_within(one[2], one[1]))
)  # fmt: skip


@given(SCRIPT, PATHS)
def test_it_holds_what_was_added_and_finds_what_is_below_a_directory(script, directory):
    paths, expected = PathSet(), {}
    for what, path, *target in script:
        getattr(paths, what)(path, *target)
        if what == "add":
            expected.setdefault(path)
        elif what == "discard":
            expected.pop(path, None)
        else:
            moved = [one for one in expected if is_within(one, path)]
            others = [one for one in expected if one not in moved]
            moved = [renamed(one, path, *target) for one in moved]
            expected = dict.fromkeys(others + sorted(set(moved) - {*others}))
    assert set(paths) == set(expected)
    assert len(paths) == len(expected)
    found = paths.at_or_below(directory)
    assert sorted(found) == sorted(path for path in expected if is_within(path, directory))
    assert all(
        not is_within(before, after) for n, after in enumerate(found) for before in found[:n]
    )
    for path in list(paths):
        assert path in paths
        paths.discard(path)
    assert not paths


def test_paths_stay_in_the_order_in_which_they_were_added():
    paths = PathSet([b"z", b"d/b", b"a", b"d/c", b"d", b"y"])
    paths.add(b"a")
    assert list(paths) == [b"z", b"d/b", b"a", b"d/c", b"d", b"y"]


def test_renamed_paths_are_the_last_in_their_order():
    paths = PathSet([b"d/b/c", b"z", b"d/b", b"d", b"dx"])
    paths.rename(b"d", b"e/f")
    assert list(paths) == [b"z", b"dx", b"e/f/b/c", b"e/f/b", b"e/f"]


@given(st.sets(PATHS))
def test_an_index_keeps_nothing_of_paths_that_were_discarded(paths):
    members = set(paths)
    index = PathIndex(lambda path: is_everything or path in members)
    is_everything = False
    for path in paths:
        index.add(path)
    assert set(index.at_or_below(b"")) == paths
    for path in sorted(paths):
        members.discard(path)
        index.discard(path)
    is_everything = True
    assert list(index.at_or_below(b"")) == [b""]
