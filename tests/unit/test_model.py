"""The words: what a path may be, how paths sort, how names are shown."""

import os

import pytest
from hypothesis import given

from replicator.errors import PathRefused
from replicator.model import check_path, is_below, key, last_below, printable, rebase
from tests.support import strategies as own


@given(own.paths)
def test_a_plain_path_is_accepted_unchanged(path):
    assert check_path(path) == path


@pytest.mark.parametrize(
    "path",
    [b"", b"/a", b"a/", b"a//b", b".", b"a/..", b"../a", b"a\0", b"x" * 256, b"a/" * 201 + b"a"],
)
def test_any_other_is_refused(path):
    with pytest.raises(PathRefused):
        check_path(path)


@given(own.paths, own.paths)
def test_keys_sort_as_a_walk_meets_the_paths(one, two):
    assert (key(one) < key(two)) == (one.split(b"/") < two.split(b"/"))


@given(own.paths, own.paths)
def test_all_below_a_directory_is_one_range(directory, other):
    inside = key(directory) < key(other) <= key(last_below(directory))

    assert inside == is_below(other, directory)


@given(own.paths, own.paths, own.paths)
def test_a_rename_moves_what_is_below(source, rest, target):
    assert rebase(source + b"/" + rest, source, target) == target + b"/" + rest


def test_a_name_cannot_forge_a_line_or_reach_the_terminal():
    shown = printable(b"a\nb\x1b[31m\xff\x00 \xe2\x80\xae caf\xc3\xa9")

    assert shown.isprintable()
    assert "café" in shown
    assert os.linesep not in shown
