"""Large files: a version has one number, and its frames are read once for all frontends."""

import threading
from dataclasses import replace

import pytest

from replicator.engine.changes.encode import CHUNK
from replicator.engine.changes.large_files import LargeFiles
from replicator.wire.frames import Decoder
from tests.support.reading import Reading


@pytest.fixture
def reading():
    return Reading()


@pytest.fixture
def large_files(reading):
    return LargeFiles(reading.reads)


def test_two_versions_of_a_large_file_with_one_stamp_have_two_numbers(reading, large_files):
    reading.source.stable = False
    numbers = set()
    for content in (reading.big, reading.big[::-1]):
        reading.source.write(b"big", content)
        reading.source.nodes[b"big"] = replace(
            reading.source.nodes[b"big"], time=1, changed=1, inode=1
        )
        reading.scan()
        numbers.add(large_files.number_of(reading.large()))
    assert len(numbers) == 2


def test_two_replicas_share_the_frames_of_a_large_file_which_is_read_once(reading, large_files):
    one, two = reading.large(), reading.large()
    number = large_files.number_of(one)
    assert large_files.number_of(two) == number

    first = [large_files.frame(one, number, offset) for offset in one.offsets()]
    second = [large_files.frame(two, number, offset) for offset in two.offsets()]

    assert all(a is b for a, b in zip(first, second, strict=True))
    assert reading.source.reads == [(b"big", offset) for offset in one.offsets()]
    decoder = Decoder()
    for encoded in first:
        decoder.receive(encoded)
    assert b"".join(f.payload for f in decoder.frames()) == reading.big


def test_a_file_that_changes_while_it_is_streamed_gives_no_more_frames(reading, large_files):
    large = reading.large()
    number = large_files.number_of(large)
    assert large_files.frame(large, number, 0) is not None
    reading.source.write(b"big", reading.big[::-1])

    assert large_files.frame(large, number, CHUNK) is None
    assert reading.doubted == [b"big"]


def test_another_version_has_another_number_and_shares_no_frame(reading, large_files):
    old = reading.large()
    number = large_files.number_of(old)
    before = large_files.frame(old, number, 0)
    reading.source.write(b"big", reading.big[::-1])
    reading.scan()
    new = reading.large()

    assert large_files.number_of(new) != number
    assert large_files.frame(new, large_files.number_of(new), 0) != before


def test_a_removed_tree_gives_no_frame(reading, large_files):
    large = reading.large()
    del reading.trees[1]
    assert large_files.frame(large, 1, 0) is None


def test_many_threads_agree_on_a_number(reading, large_files):
    large, numbers = reading.large(), set()
    threads = [
        threading.Thread(target=lambda: numbers.add(large_files.number_of(large))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(numbers) == 1
