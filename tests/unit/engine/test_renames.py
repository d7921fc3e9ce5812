"""Renames: what is known goes along."""

import os
import shutil

import pytest

from replicator.engine.ingest.renames import fits, record_rename
from replicator.model import FILE, MAX_DEPTH, MAX_PATH
from tests.support.fakes.catalog import FakeCatalog
from tests.support.fakes.content import Node


def test_a_directory_is_moved_once_its_old_name_is_missing(world):
    world.write("d/f")
    world.record()
    (world.root / "d").rename(world.root / "e")

    assert record_rename(world.checker, b"d", b"e", may_move_directory=True).moved
    assert [record.path for record in world.catalog.scan(None, None, 9)] == [b"e", b"e/f"]
    assert world.check(b"e", b"e/f")[:2] == ({}, [])


@pytest.mark.parametrize("why", ["there again", "target known", "another directory", "deletions paused"])  # fmt: skip
def test_a_directory_is_not_moved_if_a_name_that_exists_would_be_missing(world, why):
    world.write("d/f")
    if why == "target known":
        world.write("e/old")
    world.record()
    shutil.rmtree(world.root / "e", ignore_errors=True)
    (world.root / "d").rename(world.root / "e")
    if why == "there again":
        world.write("d/f")
    elif why == "another directory":
        (world.root / "e").rename(world.root / "away")
        world.write("e/other")
    may = why != "deletions paused"

    assert record_rename(world.checker, b"d", b"e", may_move_directory=may) == (False, None)
    assert b"d/f" in world.catalog.get([b"d/f"])


def test_files_of_a_swapped_directory_are_found_by_inode_and_not_read(world):
    world.write("live/f", b"old")
    world.write("new/f", b"new")
    world.record()
    (world.root / "live").rename(world.root / "old")
    (world.root / "new").rename(world.root / "live")
    world.checker.defers = True
    read = world.source.bytes_read
    old, live = world.scan(b"old")[0], world.scan(b"live")[0]

    assert (old[b"old/f"].same_content_as, live[b"live/f"].same_content_as) == (b"live/f", b"new/f")
    assert world.source.bytes_read == read


def test_a_renamed_file_is_recorded_by_both_names_until_the_old_one_is_removed(world):
    world.write("a", b"content")
    os.link(world.write("b"), world.root / "twin")
    world.record()
    (world.root / "a").rename(world.root / "b")
    found = record_rename(world.checker, b"a", b"b", may_move_directory=False).found

    (update,) = found.updates
    assert (update.record.path, update.same_content_as) == (b"b", b"a")
    assert not update.record.stable, "it is read once more"
    assert found.siblings == [b"twin"], "it may have changed under the name that is gone"
    known = world.catalog.get([b"a", b"b"])
    assert known[b"a"].entry == known[b"b"].entry


@pytest.mark.parametrize("why", ["written meanwhile", "another file", "content unknown"])
def test_a_file_is_not_linked_if_it_is_uncertain_what_was_renamed(world, why):
    world.write("a", b"content")
    world.record()
    (world.root / "a").rename(world.root / "b")
    if why == "written meanwhile":
        world.write("b", b"other content")
    elif why == "another file":
        (world.root / "b").unlink()
        world.write("spare")
        world.write("b", b"content")
    else:
        (record,) = world.catalog.get([b"a"]).values()
        world.catalog.apply([record._replace(problem="no permission")], (), {})

    assert record_rename(world.checker, b"a", b"b", may_move_directory=True) == (False, None)


def test_a_directory_with_paths_that_would_be_too_long_is_not_moved():
    catalog = FakeCatalog()
    deep = b"/".join([b"d"] * MAX_DEPTH)
    long = b"e/" + b"x" * (MAX_PATH - 2)
    for path in (b"d", deep, b"e", long):
        catalog.put(path, Node(FILE).entry)

    assert not fits(catalog, b"unknown", b"u")
    assert fits(catalog, b"d", b"dd")
    assert not fits(catalog, b"d", b"a/d")
    assert fits(catalog, b"e", b"f")
    assert not fits(catalog, b"e", b"ff")
