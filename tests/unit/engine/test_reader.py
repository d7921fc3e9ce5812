"""The content reader: dirty paths are read in their current version, once for all frontends."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from replicator.core.pending import Key, PendingChange, PendingKind
from replicator.engine.changes import reader
from replicator.engine.changes.encode import CHUNK, INLINE_LIMIT
from replicator.engine.changes.reader import ContentReader
from replicator.engine.ingest.checker import Checker
from replicator.engine.ingest.scan import scan
from replicator.model import ROOT
from replicator.wire.changes import Delete, MakeDirectory, SetAttributes
from replicator.wire.frames import Decoder
from tests.support.fakes.catalog import FakeCatalog
from tests.support.fakes.source import FakeSource
from tests.support.source_state import fake_tree


class World:
    def __init__(self, delete=True):
        self.source, self.catalog = FakeSource(), FakeCatalog()
        self.source.mkdir(b"d")
        self.source.write(b"d/f", b"small")
        self.big = bytes(range(256)) * (5 * CHUNK // 512)
        self.source.write(b"big", self.big)
        self.scan()
        tree = fake_tree(self.source, self.catalog, delete=delete)
        self.doubted = tree.state.rechecked
        self.trees = {1: tree}
        self.reader = ContentReader(self.trees)

    def scan(self):
        for _ in scan(Checker(self.source, self.catalog), ROOT):
            pass
        self.source.reads.clear()

    def collect(self, *paths, kind=PendingKind.CONTENT):
        return self.reader.collect([PendingChange(Key(1, path), 1, kind) for path in paths])

    def large(self):
        (large,) = self.collect(b"big").large
        return large


@pytest.fixture
def world():
    return World()


def test_small_files_are_encoded_with_their_content(world):
    found = world.collect(b"d", b"d/f")
    (ready,) = found.ready
    (group,) = found.groups
    decoder = Decoder()
    decoder.receive(group.encoded.frames[0])
    (frame,) = decoder.frames()

    assert isinstance(ready.change, MakeDirectory)
    assert [one.key.path for one in group.pending] == [b"d/f"]
    assert bytes(frame.payload) == b"small"


def test_the_same_version_of_small_files_is_read_and_encoded_once_for_all_frontends(world):
    names = [b"d/%03d" % number for number in range(300)]
    for name in names:
        world.source.write(name, name)
    world.scan()
    first = [group.encoded for group in world.collect(*names).groups]
    reads = len(world.source.reads)
    again = [group.encoded for group in world.collect(*names).groups]

    assert first == again
    assert len(world.source.reads) == reads == 300

    world.source.write(names[7], b"new")
    world.scan()
    world.source.reads.clear()
    newer = [group.encoded for group in world.collect(*names).groups]
    assert sum(one != other for one, other in zip(first, newer, strict=True)) == 1


def test_two_versions_with_one_stamp_are_two_frames(world):
    """Two writes within a tick of the clock: the stamp alone does not distinguish them."""
    world.source.stable = False
    for content in (b"aaaa", b"bbbb"):
        world.source.write(b"f", content)
        world.source.nodes[b"f"] = replace(world.source.nodes[b"f"], time=1, changed=1, inode=1)
        world.scan()
        (group,) = world.collect(b"f").groups
        assert group.encoded.frames[0].endswith(content)


def test_two_versions_of_a_large_file_with_one_stamp_have_two_numbers(world):
    world.source.stable = False
    numbers = set()
    for content in (world.big, world.big[::-1]):
        world.source.write(b"big", content)
        world.source.nodes[b"big"] = replace(world.source.nodes[b"big"], time=1, changed=1, inode=1)
        world.scan()
        numbers.add(world.reader.number_of(world.large()))
    assert len(numbers) == 2


def test_the_memory_of_tiny_files_in_kept_frames_is_limited_by_their_number(world, monkeypatch):
    """A file of five bytes takes a thousand and more in memory."""
    monkeypatch.setattr(reader, "CACHE_BYTES", 10_000)
    world.reader = ContentReader(world.trees)
    names = [b"d/%03d" % number for number in range(30)]
    for name in names:
        world.source.write(name, name)
    world.scan()
    world.collect(*names)
    world.collect(*names)
    assert len(world.source.reads) > len(names)


def test_a_frontend_that_lacks_one_more_path_needs_mostly_the_same_frames(world):
    names = [b"d/%04d" % number for number in range(1000)]
    for name in names:
        world.source.write(name, name)
    world.scan()
    world.collect(*names)
    world.source.reads.clear()
    world.collect(*names[3:])
    assert len(world.source.reads) < 300


def test_a_file_that_has_changed_does_not_delay_the_others_of_its_frame(world):
    world.source.write(b"d/g", b"g")
    world.scan()
    record = world.catalog.records[b"d/f"]
    world.catalog.records[b"d/f"] = record._replace(stamp=record.stamp._replace(inode=99))
    found = world.collect(b"d/f", b"d/g")

    assert [ready.change.path for ready in found.ready] == [b"d/g"]
    assert [one.pending.key.path for one in found.unreadable] == [b"d/f"]
    assert world.doubted == [b"d/f"]


def test_a_path_that_is_not_in_the_catalog_is_deleted_unless_deletes_are_off(world):
    assert isinstance(world.collect(b"gone").ready[0].change, Delete)

    keeping = World(delete=False)
    found = keeping.collect(b"gone")
    assert found.ready == []
    assert [one.key.path for one in found.unneeded] == [b"gone"]


def test_a_change_of_attributes_reads_no_content(world):
    for kind, compares in ((PendingKind.ATTRIBUTES, False), (PendingKind.ADOPT, True)):
        (ready,) = world.collect(b"d/f", kind=kind).ready
        assert isinstance(ready.change, SetAttributes)
        assert bool(ready.change.digest) is compares
    assert world.source.reads == []


def test_an_unreadable_file_is_reported_with_the_reason(world):
    record = world.catalog.records[b"d/f"]
    world.catalog.records[b"d/f"] = record._replace(problem="Permission denied")
    (unreadable,) = world.collect(b"d/f").unreadable

    assert "Permission denied" in unreadable.reason
    assert world.source.reads == []


def test_a_small_file_that_has_changed_is_unreadable_for_now_and_checked_again(world):
    world.source.write(b"d/f", b"newer")
    found = world.collect(b"d/f")

    assert [one.pending.key.path for one in found.unreadable] == [b"d/f"]
    assert found.ready == []
    assert world.doubted == [b"d/f"]


def test_nothing_is_sent_of_a_tree_that_was_removed(world):
    found = world.reader.collect([PendingChange(Key(9, b"x"), 1, PendingKind.CONTENT)])
    assert len(found.unneeded) == 1


def test_a_large_file_is_to_be_streamed_and_not_read_yet(world):
    large = world.large()

    assert large.record.entry.size > INLINE_LIMIT
    assert list(large.offsets()) == [0, CHUNK, 2 * CHUNK]
    assert world.source.reads == []


def test_two_replicas_share_the_frames_of_a_large_file_which_is_read_once(world):
    one, two = world.large(), world.large()
    number = world.reader.number_of(one)
    assert world.reader.number_of(two) == number

    first = [world.reader.frame(one, number, offset) for offset in one.offsets()]
    second = [world.reader.frame(two, number, offset) for offset in two.offsets()]

    assert all(a is b for a, b in zip(first, second, strict=True))
    assert world.source.reads == [(b"big", offset) for offset in one.offsets()]
    decoder = Decoder()
    for encoded in first:
        decoder.receive(encoded)
    assert b"".join(f.payload for f in decoder.frames()) == world.big


def test_a_file_that_changes_while_it_is_streamed_gives_no_more_frames(world):
    large = world.large()
    number = world.reader.number_of(large)
    assert world.reader.frame(large, number, 0) is not None
    world.source.write(b"big", world.big[::-1])

    assert world.reader.frame(large, number, CHUNK) is None
    assert world.doubted == [b"big"]


def test_another_version_has_another_number_and_shares_no_frame(world):
    old = world.large()
    number = world.reader.number_of(old)
    before = world.reader.frame(old, number, 0)
    world.source.write(b"big", world.big[::-1])
    world.scan()
    new = world.large()

    assert world.reader.number_of(new) != number
    assert world.reader.frame(new, world.reader.number_of(new), 0) != before


def test_a_removed_tree_gives_no_frame(world):
    large = world.large()
    del world.trees[1]
    assert world.reader.frame(large, 1, 0) is None


def test_many_threads_agree_on_a_number(world):
    large, numbers = world.large(), set()
    threads = [
        threading.Thread(target=lambda: numbers.add(world.reader.number_of(large)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(numbers) == 1


def test_the_catalog_is_not_read_between_a_rename_and_its_publication(world):
    with ThreadPoolExecutor(1) as pool:
        with world.catalog.renaming:
            found = pool.submit(world.collect, b"d/f")
            world.catalog.records.clear()
            with pytest.raises(TimeoutError):
                found.result(0.1)
        assert [type(ready.change) for ready in found.result(10).ready] == [Delete]


def test_a_deletion_that_is_held_back_is_not_sent(world):
    held = world.trees[1].state.held
    held.add(b"gone")
    assert not world.collect(b"gone").ready
    assert [one.key.path for one in world.collect(b"gone").unneeded] == [b"gone"]
    held.clear()
    assert isinstance(world.collect(b"gone").ready[0].change, Delete)


def test_a_file_that_takes_a_frontend_too_long_to_hash_is_sent(world, monkeypatch):
    assert isinstance(world.collect(b"big", kind=PendingKind.ADOPT).ready[0].change, SetAttributes)
    monkeypatch.setattr(reader, "MOST_HASHED", len(world.big) - 1)
    assert world.collect(b"big", kind=PendingKind.ADOPT).large
    assert not world.collect(b"big", kind=PendingKind.ATTRIBUTES).large
