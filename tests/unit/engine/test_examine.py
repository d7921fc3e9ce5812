"""The examiner over a real directory and a real catalog: what it tells, and what it never tells."""

import os
import shutil

import pytest

from replicator.catalog.sqlite import CatalogStore
from replicator.errors import SourceError
from tests.support.world import World

OLD = 10**18


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.close()


def settle(world, *names):
    """Give files stamps that are believed at once, as if they were old."""
    world.survey()
    records = [record._replace(firm=True) for record in world.catalog.scan(None, None, 10_000)]
    world.catalog.apply(records, (), {})


def test_what_did_not_change_is_neither_read_nor_told(world):
    world.write("a")
    settle(world)
    read = world.source.bytes_read

    assert world.survey()[:2] == ({}, [])
    assert world.examine(b"a")[:2] == ({}, [])
    assert world.source.bytes_read == read


def test_a_content_that_changed_under_the_same_size_and_time_is_marked_until_they_differ(world):
    path = world.write("a", b"one")
    os.utime(path, ns=(OLD, OLD))
    settle(world)
    assert not world.catalog.get([b"a"])[b"a"].stealthy
    path.write_bytes(b"two")
    os.utime(path, ns=(OLD, OLD))
    updates, *_ = world.survey()
    assert updates[b"a"].record.stealthy
    path.chmod(0o600)
    world.survey()
    assert world.catalog.get([b"a"])[b"a"].stealthy, "frontends may still hold the first one"
    os.utime(path, ns=(OLD, OLD + 1))
    world.survey()
    assert not world.catalog.get([b"a"])[b"a"].stealthy


def test_a_new_file_is_told_with_its_content(world):
    world.write("a", b"content")
    updates, gone, _ = world.examine(b"a")

    assert b"".join(op.data for op in updates[b"a"].ops) == b"content"
    assert gone == []
    assert world.catalog.get([b"a"])[b"a"] == updates[b"a"].record


def test_attributes_alone_are_told_without_content(world):
    path = world.write("a")
    settle(world)
    path.chmod(0o600)
    updates, _, _ = world.examine(b"a")

    assert updates[b"a"].same_content
    assert updates[b"a"].record.entry.mode == 0o600


def test_a_file_that_was_rewritten_with_the_same_bytes_and_time_is_not_told(world):
    path = world.write("a")
    os.utime(path, ns=(OLD, OLD))
    settle(world)
    path.write_bytes(b"content")
    os.utime(path, ns=(OLD, OLD))

    assert world.examine(b"a")[:2] == ({}, [])


def test_a_vanished_directory_is_told_children_first(world):
    world.write("d/e/f")
    world.write("d/g")
    settle(world)
    shutil.rmtree(world.root / "d")
    _, gone, _ = world.examine(b"d")

    assert gone == [b"d/g", b"d/e/f", b"d/e", b"d"]
    assert world.catalog.counts()[0] == 0


@pytest.mark.parametrize("to", ["file", "symlink"])
def test_a_directory_that_turns_into_something_else_loses_its_children(world, to):
    world.write("d/f")
    settle(world)
    shutil.rmtree(world.root / "d")
    if to == "file":
        world.write("d")
    else:
        (world.root / "d").symlink_to("elsewhere")
    updates, gone, _ = world.examine(b"d")

    assert gone == [b"d/f"]
    assert set(updates) == {b"d"}


def test_nothing_is_told_gone_while_the_root_is_in_doubt(world):
    world.write("a")
    settle(world)
    world.root.rename(world.root.with_name("away"))

    with pytest.raises(SourceError):
        world.examine(b"a", b"")
    assert world.catalog.get([b"a"])


def test_a_source_that_is_empty_all_of_a_sudden_is_in_doubt(world):
    path = world.write("a")
    settle(world)
    path.unlink()

    with pytest.raises(SourceError, match="mounted"):
        world.survey()
    assert world.catalog.get([b"a"])


def test_what_is_excluded_from_now_on_is_forgotten_and_not_told_gone(world, tmp_path):
    world.write("cache/a")
    world.write("b")
    settle(world)
    world.close()
    again = World(tmp_path, exclude=["cache/"])
    try:
        updates, gone, found = again.survey()

        assert (updates, gone) == ({}, [])
        assert {path for one in found for path in one.forgotten} == {b"cache", b"cache/a"}
    finally:
        again.close()
        world.source._fd = os.open(world.root, os.O_RDONLY)
        world.store = CatalogStore.open(tmp_path / "catalog.sqlite")


def test_a_file_that_is_being_written_leaves_a_placeholder_and_is_told_when_closed(world):
    with (world.root / "a").open("wb") as file:
        file.write(b"half")
        file.flush()
        updates, _, found = world.examine(b"a")
        assert found[0].unsettled == [b"a"]
        assert updates[b"a"].record.problem
    updates, _, _ = world.examine(b"a")

    assert updates[b"a"].record.problem == ""
    assert updates[b"a"].ops is not None


def test_the_other_names_of_a_changed_file_are_named(world):
    path = world.write("a")
    os.link(path, world.root / "b")
    settle(world)
    path.write_bytes(b"changed")
    _, _, found = world.examine(b"a")

    assert {name for one in found for name in one.siblings} == {b"b"}


def test_a_rename_relabels_what_is_known_and_names_what_is_in_the_way(world):
    world.write("d/f")
    world.write("e/old")
    settle(world)
    shutil.rmtree(world.root / "e")
    (world.root / "d").rename(world.root / "e")

    assert world.examiner.relabel(b"d", b"e") == [b"e/old", b"e"]
    assert [record.path for record in world.catalog.scan(None, None, 9)] == [b"e", b"e/f"]
    assert world.examine(b"e", b"e/f")[:2] == ({}, [])


def test_a_special_file_is_left_out(world):
    os.mkfifo(world.root / "fifo")

    assert world.survey()[:2] == ({}, [])
