"""Renames: what is known goes along."""

import os
import shutil

from replicator.engine.renames import can_relabel, relabel
from replicator.model import FILE, MAX_DEPTH, MAX_PATH
from tests.support.fakes import FakeCatalog, Node


def test_a_rename_relabels_what_is_known_and_names_what_is_in_the_way(world):
    world.write("d/f")
    world.write("e/old")
    world.settle()
    shutil.rmtree(world.root / "e")
    (world.root / "d").rename(world.root / "e")

    assert relabel(world.examiner, b"d", b"e") == ([b"e/old", b"e"], [])
    assert [record.path for record in world.catalog.scan(None, None, 9)] == [b"e", b"e/f"]
    assert world.examine(b"e", b"e/f")[:2] == ({}, [])


def test_the_other_names_of_a_file_that_is_replaced_are_named(world):
    """They may have changed under the name that is gone, before anybody looked."""
    os.link(world.write("old"), world.root / "twin")
    os.link(world.write("d/f"), world.root / "other")
    path = world.write("new")
    (world.root / "e").mkdir()
    world.settle()
    path.rename(world.root / "old")
    shutil.rmtree(world.root / "d")
    (world.root / "e").rename(world.root / "d")

    assert relabel(world.examiner, b"new", b"old") == ([], [b"twin"])
    assert relabel(world.examiner, b"e", b"d") == ([b"d/f", b"d"], [b"other"])


def test_what_is_unknown_or_would_be_no_path_is_not_relabelled():
    catalog = FakeCatalog()
    deep = b"/".join([b"d"] * MAX_DEPTH)
    long = b"e/" + b"x" * (MAX_PATH - 2)
    for path in (b"d", deep, b"e", long):
        catalog.put(path, Node(FILE).entry)

    assert not can_relabel(catalog, b"unknown", b"u")
    assert can_relabel(catalog, b"d", b"dd")
    assert not can_relabel(catalog, b"d", b"a/d")
    assert can_relabel(catalog, b"e", b"f")
    assert not can_relabel(catalog, b"e", b"ff")
