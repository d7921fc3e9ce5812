"""The content reader: dirty paths are read in their current version, once for all frontends."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from replicator.core.pending import Key, PendingChange, PendingKind
from replicator.engine.changes import reader
from replicator.engine.changes.encode import CHUNK, INLINE_LIMIT
from replicator.engine.changes.reader import ContentReader
from replicator.wire.changes import Delete, MakeDirectory, SetAttributes
from replicator.wire.frames import Decoder
from tests.support.reading import Reading


@pytest.fixture
def reading():
    return Reading()


def test_small_files_are_encoded_with_their_content(reading):
    found = reading.collect(b"d", b"d/f")
    (ready,) = found.ready
    (group,) = found.groups
    decoder = Decoder()
    decoder.receive(group.encoded.frames[0])
    (frame,) = decoder.frames()

    assert isinstance(ready.change, MakeDirectory)
    assert [one.key.path for one in group.pending] == [b"d/f"]
    assert bytes(frame.payload) == b"small"


def test_the_same_version_of_small_files_is_read_and_encoded_once_for_all_frontends(reading):
    names = [b"d/%03d" % number for number in range(300)]
    for name in names:
        reading.source.write(name, name)
    reading.scan()
    first = [group.encoded for group in reading.collect(*names).groups]
    reads = len(reading.source.reads)
    again = [group.encoded for group in reading.collect(*names).groups]

    assert first == again
    assert len(reading.source.reads) == reads == 300

    reading.source.write(names[7], b"new")
    reading.scan()
    reading.source.reads.clear()
    newer = [group.encoded for group in reading.collect(*names).groups]
    assert sum(one != other for one, other in zip(first, newer, strict=True)) == 1


def test_two_versions_with_one_stamp_are_two_frames(reading):
    """Two writes within a tick of the clock: the stamp alone does not distinguish them."""
    reading.source.stable = False
    for content in (b"aaaa", b"bbbb"):
        reading.source.write(b"f", content)
        reading.source.nodes[b"f"] = replace(reading.source.nodes[b"f"], time=1, changed=1, inode=1)
        reading.scan()
        (group,) = reading.collect(b"f").groups
        assert group.encoded.frames[0].endswith(content)


def test_the_memory_of_tiny_files_in_kept_frames_is_limited_by_their_number(reading, monkeypatch):
    """A file of five bytes takes a thousand and more in memory."""
    monkeypatch.setattr(reader, "CACHE_BYTES", 10_000)
    reading.reader = ContentReader(reading.reads)
    names = [b"d/%03d" % number for number in range(30)]
    for name in names:
        reading.source.write(name, name)
    reading.scan()
    reading.collect(*names)
    reading.collect(*names)
    assert len(reading.source.reads) > len(names)


def test_a_frontend_that_lacks_one_more_path_needs_mostly_the_same_frames(reading):
    names = [b"d/%04d" % number for number in range(1000)]
    for name in names:
        reading.source.write(name, name)
    reading.scan()
    reading.collect(*names)
    reading.source.reads.clear()
    reading.collect(*names[3:])
    assert len(reading.source.reads) < 300


def test_a_file_that_has_changed_does_not_delay_the_others_of_its_frame(reading):
    reading.source.write(b"d/g", b"g")
    reading.scan()
    record = reading.catalog.records[b"d/f"]
    reading.catalog.records[b"d/f"] = record._replace(stamp=record.stamp._replace(inode=99))
    found = reading.collect(b"d/f", b"d/g")

    assert [ready.change.path for ready in found.ready] == [b"d/g"]
    assert [one.pending.key.path for one in found.unreadable] == [b"d/f"]
    assert reading.doubted == [b"d/f"]


def test_a_path_that_is_not_in_the_catalog_is_deleted_unless_deletes_are_off(reading):
    assert isinstance(reading.collect(b"gone").ready[0].change, Delete)

    keeping = Reading(delete=False)
    found = keeping.collect(b"gone")
    assert found.ready == []
    assert [one.key.path for one in found.unneeded] == [b"gone"]


def test_a_change_of_attributes_reads_no_content(reading):
    for kind, compares in ((PendingKind.ATTRIBUTES, False), (PendingKind.ADOPT, True)):
        (ready,) = reading.collect(b"d/f", kind=kind).ready
        assert isinstance(ready.change, SetAttributes)
        assert bool(ready.change.digest) is compares
    assert reading.source.reads == []


def test_an_unreadable_file_is_reported_with_the_reason(reading):
    record = reading.catalog.records[b"d/f"]
    reading.catalog.records[b"d/f"] = record._replace(problem="Permission denied")
    (unreadable,) = reading.collect(b"d/f").unreadable

    assert "Permission denied" in unreadable.reason
    assert reading.source.reads == []


def test_a_small_file_that_has_changed_is_unreadable_for_now_and_checked_again(reading):
    reading.source.write(b"d/f", b"newer")
    found = reading.collect(b"d/f")

    assert [one.pending.key.path for one in found.unreadable] == [b"d/f"]
    assert found.ready == []
    assert reading.doubted == [b"d/f"]


def test_nothing_is_sent_of_a_tree_that_was_removed(reading):
    found = reading.reader.collect([PendingChange(Key(9, b"x"), 1, PendingKind.CONTENT)])
    assert len(found.unneeded) == 1


def test_a_large_file_is_to_be_streamed_and_not_read_yet(reading):
    large = reading.large()

    assert large.record.entry.size > INLINE_LIMIT
    assert list(large.offsets()) == [0, CHUNK, 2 * CHUNK]
    assert reading.source.reads == []


def test_the_catalog_is_not_read_between_a_rename_and_its_publication(reading):
    with ThreadPoolExecutor(1) as pool:
        with reading.catalog.renaming:
            found = pool.submit(reading.collect, b"d/f")
            reading.catalog.records.clear()
            with pytest.raises(TimeoutError):
                found.result(0.1)
        assert [type(ready.change) for ready in found.result(10).ready] == [Delete]


def test_a_deletion_that_is_held_back_is_not_sent(reading):
    held = reading.trees[1].state.held
    held.add(b"gone")
    assert not reading.collect(b"gone").ready
    assert [one.key.path for one in reading.collect(b"gone").unneeded] == [b"gone"]
    held.clear()
    assert isinstance(reading.collect(b"gone").ready[0].change, Delete)


def test_a_file_that_takes_a_frontend_too_long_to_hash_is_sent(reading, monkeypatch):
    assert isinstance(
        reading.collect(b"big", kind=PendingKind.ADOPT).ready[0].change, SetAttributes
    )
    monkeypatch.setattr(reader, "MOST_HASHED", len(reading.big) - 1)
    assert reading.collect(b"big", kind=PendingKind.ADOPT).large
    assert not reading.collect(b"big", kind=PendingKind.ATTRIBUTES).large
