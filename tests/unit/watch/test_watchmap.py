"""watch.watchmap: descriptors and paths through renames."""

import pytest

from replicator.watch.watchmap import WatchMap


@pytest.fixture
def watched():
    """1: root, 2: a, 3: a/b, 4: a/b/c, 5: d."""
    watched = WatchMap()
    watched.place_root(1)
    watched.place(2, 1, b"a")
    watched.place(3, 2, b"b")
    watched.place(4, 3, b"c")
    watched.place(5, 1, b"d")
    return watched


def test_paths_and_descriptors(watched):
    for wd, path in ((1, b""), (2, b"a"), (3, b"a/b"), (4, b"a/b/c"), (5, b"d")):
        assert watched.path_of(wd) == path
        assert watched.wd_of(path) == wd
    assert watched.path_of(99) is None
    assert watched.wd_of(b"a/x") is None
    assert watched.wd_of(b"a/x/y") is None
    assert watched.locate(3, b"f") == b"a/b/f"
    assert watched.below(2) == [2, 3, 4]


def test_rename_carries_what_is_below(watched):
    watched.place(2, 5, b"z")
    assert watched.path_of(4) == b"d/z/b/c"
    assert watched.wd_of(b"a") is None


def test_detached_has_no_path_until_it_is_placed_again(watched):
    watched.detach(2)
    assert watched.path_of(4) is None
    assert watched.detached == {2}
    watched.place(2, 1, b"n")
    assert watched.path_of(4) == b"n/b/c"
    assert not watched.detached


def test_a_name_belongs_to_one_directory(watched):
    watched.place(5, 1, b"a")
    assert watched.wd_of(b"a") == 5
    assert watched.path_of(3) is None
    assert watched.detached == {2}


def test_remove_takes_what_is_below(watched):
    assert watched.remove(2) == [2, 3, 4]
    assert len(watched) == 2
    assert watched.remove(2) == []
    assert watched.wd_of(b"a") is None
    assert not watched.detached


def test_a_circle_is_never_closed(watched):
    watched.place(2, 4, b"x")
    for wd in (1, 2, 3, 4, 5):
        watched.path_of(wd)  # ends
    assert watched.path_of(2) is None


def test_a_directory_is_never_its_own_parent(watched):
    watched.place(
        3, 3, b"x"
    )  # it was moved into a new directory at its old place, of which we have yet to read
    assert watched.path_of(4) is None
    assert watched.detached == {3}


def test_the_root_is_nowhere_else(watched):
    watched.place(1, 2, b"mounted")
    assert watched.path_of(1) == b""
    assert watched.path_of(4) == b"a/b/c"


def test_remove_of_the_root_leaves_nothing(watched):
    watched.remove(1)
    assert len(watched) == 0
    assert watched.wd_of(b"") is None
