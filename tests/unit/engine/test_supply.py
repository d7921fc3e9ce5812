"""Supply: what is owed as it is now, and large contents read once for everybody."""

import threading

import pytest

from replicator.core.dirty import Due, Key, Owed
from replicator.engine import supply as supply_module
from replicator.engine.examine import Examiner
from replicator.engine.parcel import CHUNK, INLINE_LIMIT
from replicator.engine.supply import Shelf, Supply
from replicator.model import ROOT
from replicator.wire.changes import Delete, MakeDirectory, PutFile, SetAttributes
from replicator.wire.frames import Decoder
from tests.support.fakes import FakeCatalog, FakeSource


class World:
    def __init__(self, delete=True):
        self.source, self.catalog, self.doubted = FakeSource(), FakeCatalog(), []
        self.source.mkdir(b"d")
        self.source.write(b"d/f", b"small")
        self.big = bytes(range(256)) * (5 * CHUNK // 512)
        self.source.write(b"big", self.big)
        self.survey()
        self.shelves = {1: Shelf(self.source, self.catalog, delete, self.doubted.append)}
        self.supply = Supply(self.shelves)

    def survey(self):
        for _ in Examiner(self.source, self.catalog).survey(ROOT):
            pass
        self.source.reads.clear()

    def collect(self, *paths, owed=Owed.CONTENT):
        return self.supply.collect([Due(Key(1, path), 1, owed) for path in paths])

    def large(self):
        (large,) = self.collect(b"big").large
        return large


@pytest.fixture
def world():
    return World()


def test_small_files_come_with_their_content(world):
    found = world.collect(b"d", b"d/f")
    by_path = {ready.change.path: ready for ready in found.ready}

    assert isinstance(by_path[b"d"].change, MakeDirectory)
    assert isinstance(by_path[b"d/f"].change, PutFile)
    assert by_path[b"d/f"].content == b"small"


def test_what_is_not_in_the_catalog_is_deleted_unless_deletes_are_off(world):
    assert isinstance(world.collect(b"gone").ready[0].change, Delete)

    keeping = World(delete=False)
    found = keeping.collect(b"gone")
    assert found.ready == []
    assert [due.key.path for due in found.settled] == [b"gone"]


def test_attributes_alone_read_nothing(world):
    for owed, compares in ((Owed.ATTRIBUTES, False), (Owed.ADOPT, True)):
        (ready,) = world.collect(b"d/f", owed=owed).ready
        assert isinstance(ready.change, SetAttributes)
        assert bool(ready.change.digest) is compares
    assert world.source.reads == []


def test_what_cannot_be_read_is_stuck_with_the_reason(world):
    record = world.catalog.records[b"d/f"]
    world.catalog.records[b"d/f"] = record._replace(problem="Permission denied")
    (stuck,) = world.collect(b"d/f").stuck

    assert "Permission denied" in stuck.reason
    assert world.source.reads == []


def test_a_small_file_that_changed_since_is_stuck_and_looked_at_again(world):
    world.source.write(b"d/f", b"newer")
    found = world.collect(b"d/f")

    assert [stuck.due.key.path for stuck in found.stuck] == [b"d/f"]
    assert found.ready == []
    assert world.doubted == [b"d/f"]


def test_a_tree_that_is_replicated_no_more_owes_nothing(world):
    found = world.supply.collect([Due(Key(9, b"x"), 1, Owed.CONTENT)])
    assert len(found.settled) == 1


def test_a_large_file_is_streamed_and_not_read_yet(world):
    large = world.large()

    assert large.record.entry.size > INLINE_LIMIT
    assert list(large.offsets()) == [0, CHUNK, 2 * CHUNK]
    assert world.source.reads == []


def test_two_replicas_get_the_same_frames_and_the_file_is_read_once(world):
    one, two = world.large(), world.large()
    number = world.supply.number_of(one)
    assert world.supply.number_of(two) == number

    first = [world.supply.frame(one, number, offset) for offset in one.offsets()]
    second = [world.supply.frame(two, number, offset) for offset in two.offsets()]

    assert all(a is b for a, b in zip(first, second, strict=True))
    assert world.source.reads == [(b"big", offset) for offset in one.offsets()]
    decoder = Decoder()
    for encoded in first:
        decoder.receive(encoded)
    assert b"".join(f.payload for f in decoder.frames()) == world.big


def test_a_version_that_is_gone_in_the_middle_gives_no_frame(world):
    large = world.large()
    number = world.supply.number_of(large)
    assert world.supply.frame(large, number, 0) is not None
    world.source.write(b"big", world.big[::-1])

    assert world.supply.frame(large, number, CHUNK) is None
    assert world.doubted == [b"big"]


def test_another_version_has_another_number_and_no_old_frame(world):
    old = world.large()
    number = world.supply.number_of(old)
    before = world.supply.frame(old, number, 0)
    world.source.write(b"big", world.big[::-1])
    world.survey()
    new = world.large()

    assert world.supply.number_of(new) != number
    assert world.supply.frame(new, world.supply.number_of(new), 0) != before


def test_a_frame_of_a_removed_tree_is_none(world):
    large = world.large()
    del world.shelves[1]
    assert world.supply.frame(large, 1, 0) is None


def test_the_cache_is_bounded(world, monkeypatch):
    monkeypatch.setattr(supply_module, "CACHE_BYTES", 2 * CHUNK)
    large = world.large()
    for offset in large.offsets():
        world.supply.frame(large, 1, offset)

    assert world.supply._cached <= 2 * CHUNK
    assert world.supply._cached == sum(map(len, world.supply._cache.values()))


def test_many_threads_agree_on_a_number(world):
    large, numbers = world.large(), set()
    threads = [
        threading.Thread(target=lambda: numbers.add(world.supply.number_of(large)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(numbers) == 1
