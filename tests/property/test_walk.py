"""Whatever names a tree holds, a walk is in key order, and any part of it is the same range of it."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.files.confined import Confined
from replicator.files.walk import walk
from replicator.model import (
    DIRECTORY,
    is_below,
    is_temporary,
    key,
    last_below,
    parent,
)
from tests.support.strategies import names

COMMON = st.sampled_from([b"a", b"a.x", b"a-b", b"a b", b"b", b"a\x01", b"\xff"])
PATHS = st.lists(COMMON | names, min_size=1, max_size=4).map(b"/".join)


def with_parents(paths):
    paths = list(paths)
    everything = set(paths)
    for path in paths:
        while path := parent(path):
            everything.add(path)
    return everything


def make(root, paths):
    directories = {parent(path) for path in paths}
    for path in sorted(paths, key=key):
        where = os.path.join(os.fsencode(root), path)
        if path in directories:
            os.mkdir(where)
        else:
            with open(where, "wb"):
                pass
    return directories


@settings(max_examples=150)
@given(paths=st.lists(PATHS, max_size=12), pick=st.integers(0, 100))
def test_a_walk_is_sorted_by_key_and_complete(paths, pick):
    expected = with_parents(p for p in paths if not any(map(is_temporary, p.split(b"/"))))
    with TemporaryDirectory() as root:
        directories = make(Path(root), expected)
        tree = Confined.open(os.fsencode(root))
        try:
            met = list(walk(tree, b""))
            assert [m.path for m in met] == sorted(expected, key=key)
            assert {m.path for m in met if m.entry.kind == DIRECTORY} == directories - {b""}
            for below in sorted(directories)[pick % 3 :: 3]:
                part = [m.path for m in walk(tree, below)]
                assert part == [m.path for m in met if is_below(m.path, below)]
                if below:
                    bounds = (key(below), key(last_below(below)))
                    assert part == [m.path for m in met if bounds[0] < key(m.path) <= bounds[1]]
        finally:
            tree.close()
