"""Which symlinks cannot lead out of a tree."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.engine.ingest.renames import may_move
from replicator.model import SYMLINK, Entry, Stamp, admits, stays_inside
from replicator.ports import Record
from tests.support.fakes.catalog import FakeCatalog

INSIDE = [
    (b"l", b"a"), (b"l", b"a/b"), (b"l", b"./a//b/"), (b"l", b"."), (b"d/l", b".."), (b"d/l", b"../a"), (b"d/e/l", b".././../a"),
    (b"l", b"..."), (b"l", b"..a"),
]  # fmt: skip
OUTSIDE = [
    (b"l", b"/"), (b"l", b"/etc/passwd"), (b"l", b".."), (b"l", b"../config.php"), (b"d/l", b"../.."), (b"d/l", b"../../d/a"),
    (b"l", b"a/../.."), (b"l", b"a/../b"), (b"d/l", b".././../x"), (b"l", b"a/.."), (b"l", b"./../x"), (b"l", b"a/./../x"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "link"), INSIDE)
def test_a_relative_symlink_that_stays_in_the_tree(path, link):
    assert stays_inside(path, link)
    assert [admits(policy, path, link) for policy in ("all", "inside", "none")] == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(("path", "link"), OUTSIDE)
def test_a_symlink_that_leads_out_of_it_or_may(path, link):
    assert not stays_inside(path, link)
    assert [admits(policy, path, link) for policy in ("all", "inside", "none")] == [
        True,
        False,
        False,
    ]


parts = st.lists(st.sampled_from(["a", "b", "..", "."]), min_size=1, max_size=6)


@given(st.dictionaries(parts.map("/".join), parts.map("/".join), max_size=5))
def test_no_way_through_admitted_symlinks_leaves_the_tree(tmp_path_factory, links):
    """Made for real, each of them, and through each other."""
    base = tmp_path_factory.mktemp("tree")
    root = base / "root"
    for directory in ("a/a/a", "a/b", "b/a/b"):
        (root / directory).mkdir(parents=True)
    for number, (name, link) in enumerate(links.items()):
        names = [part for part in name.split("/") if part in "ab"][:2]
        path = (
            "/".join([*names, f"l{number}"]) if (root / "/".join(names)).is_dir() else f"l{number}"
        )
        target = f"l{number - 1}/{link}" if number % 2 else link
        if stays_inside(path.encode(), target.encode()):
            os.symlink(target, root / path)
    for directory, names, files in os.walk(root):
        for name in names + files:
            try:
                real = os.path.realpath(os.path.join(directory, name), strict=True)
            except OSError:  # a loop, or nothing there
                continue
            assert (real + "/").startswith(f"{root}/")


def test_what_leads_out_from_where_it_is_moved_to_is_not_moved():
    catalog = FakeCatalog()
    for path, link in ((b"d/e/l", b"../../x"), (b"d/e/f/m", b"../n")):
        catalog.records[path] = Record(path, Entry(SYMLINK, 0, 0, 0, link), Stamp(0, 0, 0, 1))
    assert may_move(catalog, "inside", b"d/e", b"c/e")
    assert may_move(catalog, "inside", b"d/e/f", b"f")
    assert not may_move(catalog, "inside", b"d/e", b"e")
    assert not may_move(catalog, "inside", b"d/e/l", b"l")
    assert may_move(catalog, "all", b"d/e", b"e")
