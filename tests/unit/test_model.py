"""The words: what a path may be, how paths sort, how names are shown."""

import os
import re

import pytest
from hypothesis import given

from replicator.errors import PathRefused
from replicator.model import check_path, is_below, key, last_below, printable, rebase, shortened
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


@pytest.mark.parametrize("size", [0, 99, 100, 101, 5000])
def test_a_long_text_keeps_its_ends_and_states_how_much_is_left_out(size):
    text = ("what " + "-" * size + " why")[:size]
    short = shortened(text, 100)
    if size <= 100:
        assert short == text
    else:
        beginning, left_out, end = re.fullmatch(
            r"(.*) \[\.\.\. (\d+) characters left out \.\.\.\] (.*)", short
        ).groups()
        assert text.startswith(beginning)
        assert text.endswith(end)
        assert len(beginning) + len(end) == 100
        assert int(left_out) == size - 100
