"""The supply: what is due is read from catalog and source as they are now, and large files are read once for all."""

import os

import pytest

from replicator.core.dirty import Due, Key, Owed
from replicator.engine.parcel import CHUNK, INLINE_LIMIT
from replicator.engine.supply import Shelf, Supply
from replicator.wire.changes import Delete, MakeDirectory, PutFile, SetAttributes
from tests.support.world import World


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    world.doubted = []
    world.supply = Supply({1: Shelf(world.source, world.catalog, True, world.doubted.append)})
    yield world
    world.close()


def collect(world, *paths, owed=Owed.CONTENT, tree=1):
    return world.supply.collect([Due(Key(tree, path), 7, owed) for path in paths])


def test_each_kind_of_due_becomes_its_change(world):
    world.write("d/small", b"abc")
    world.write("d/large", os.urandom(INLINE_LIMIT + 1))
    world.survey()
    supplies = collect(world, b"d", b"d/small", b"d/large", b"gone")

    kinds = {item.due.key.path: (type(item.change), item.content) for item in supplies.ready}
    assert kinds == {
        b"d": (MakeDirectory, b""),
        b"d/small": (PutFile, b"abc"),
        b"gone": (Delete, b""),
    }
    assert [large.due.key.path for large in supplies.large] == [b"d/large"]


def test_what_may_be_there_already_is_offered_without_content(world):
    world.write("a")
    world.survey()
    (adopted,) = collect(world, b"a", owed=Owed.ADOPT).ready
    (attributes,) = collect(world, b"a", owed=Owed.ATTRIBUTES).ready

    assert isinstance(adopted.change, SetAttributes)
    assert len(adopted.change.digest) == 32
    assert attributes.change.digest == b""


def test_a_file_that_changed_since_is_not_sent_and_looked_at_again(world):
    path = world.write("a", b"one")
    world.survey()
    path.write_bytes(b"two!")
    supplies = collect(world, b"a")

    assert supplies.ready == []
    assert [stuck.due.key.path for stuck in supplies.stuck] == [b"a"]
    assert world.doubted == [b"a"]


def test_a_tree_that_is_no_more_owes_nothing(world):
    assert [due.key.path for due in collect(world, b"a", tree=9).settled] == [b"a"]


def test_frames_of_a_large_file_are_read_once_for_all(world):
    world.write("large", os.urandom(3 * CHUNK + 1))
    world.survey()
    ((one,), (two,)) = (collect(world, b"large").large for _ in range(2))
    number = world.supply.number_of(one)
    read = world.source.bytes_read
    frames = [
        world.supply.frame(large, number, offset)
        for large in (one, two)
        for offset in one.offsets()
    ]

    assert world.supply.number_of(two) == number
    assert world.source.bytes_read - read == 3 * CHUNK + 1
    assert frames[:4] == frames[4:]
    assert all(a is b for a, b in zip(frames[:4], frames[4:], strict=True))


def test_a_version_that_is_gone_in_mid_stream_says_so(world):
    path = world.write("large", os.urandom(INLINE_LIMIT + 1))
    world.survey()
    (large,) = collect(world, b"large").large
    path.write_bytes(b"short now")

    assert world.supply.frame(large, 1, 0) is None
    assert world.doubted == [b"large"]
