"""The eyewitness records what a visitor could see, and when."""

import os
import threading
import time

import pytest

from bench.whole import eyewitness
from tests.support.waiting import wait_for

SOON = 20.0


@pytest.fixture
def record():
    return eyewitness.Record()


def test_a_renamed_file_is_seen_after_it_was_closed_and_before_we_ask(record, tmp_path):
    record.begin(str(tmp_path), 5, SOON)
    (tmp_path / ".hidden").write_bytes(b"hello")
    before = time.monotonic_ns()
    os.rename(tmp_path / ".hidden", tmp_path / "photo")
    seen = record.seen(1, SOON)
    assert list(seen) == ["photo"]
    assert before <= seen["photo"] <= time.monotonic_ns()


def test_a_file_counts_only_when_it_is_whole(record, tmp_path):
    record.begin(str(tmp_path), 10, SOON)
    with (tmp_path / "slow").open("wb", buffering=0) as file:
        file.write(b"hello")
        whole = time.monotonic_ns()
        file.write(b"world")
    assert record.seen(1, SOON)["slow"] >= whole


def test_what_was_there_before_does_not_count(record, tmp_path):
    (tmp_path / "old").write_bytes(b"12345")
    record.begin(str(tmp_path), 5, SOON)
    (tmp_path / "new").write_bytes(b"12345")
    (tmp_path / "old").write_bytes(b"54321")
    (tmp_path / "newer").write_bytes(b"12345")
    assert set(record.seen(2, SOON)) == {"new", "newer"}


def test_a_directory_that_comes_later_is_waited_for(record, tmp_path):
    record.begin(str(tmp_path / "later"), 1, SOON)
    (tmp_path / "soon").mkdir()
    for number in range(20):
        (tmp_path / "soon" / str(number)).write_bytes(b"x")
    os.rename(tmp_path / "soon", tmp_path / "later")
    assert len(record.seen(20, SOON)) == 20


def test_what_does_not_come_is_late(record, tmp_path):
    record.begin(str(tmp_path), 1, SOON)
    with pytest.raises(eyewitness.Late):
        record.seen(1, 0.05)


def test_until_a_file_has_a_size(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    found = []
    waiting = threading.Thread(target=lambda: found.append(eyewitness.until(f"{tmp_path}/file", 7, SOON)))  # fmt: skip
    waiting.start()
    (tmp_path / ".new").write_bytes(b"changed")
    before = time.monotonic_ns()
    os.rename(tmp_path / ".new", tmp_path / "file")
    waiting.join(SOON)
    assert before <= found[0] <= time.monotonic_ns()


def test_a_tree_is_counted_without_what_no_visitor_sees(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "photo").write_bytes(b"x")
    (tmp_path / "a" / ".photo.tmp").write_bytes(b"x")
    (tmp_path / ".stfolder").mkdir()
    (tmp_path / ".stfolder" / "marker").write_bytes(b"x")
    assert eyewitness.visible(str(tmp_path)) == [f"{tmp_path}/a/photo"]
    eyewitness.tree(str(tmp_path), 1, SOON)
    with pytest.raises(eyewitness.Late):
        eyewitness.tree(str(tmp_path), 2, 0.05)


def is_in_a_later_tick(file, path):
    """Return True if a change of a file now gets another change time than the last one of `path` has."""
    file.touch()
    return file.stat().st_ctime_ns > path.stat().st_ctime_ns


def test_a_directory_is_counted_again_exactly_when_its_names_have_changed(tmp_path, monkeypatch):
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(
        eyewitness.os, "scandir", lambda path: (listed.append(path), scandir(path))[1]
    )
    counter = eyewitness.Counter()
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "1").touch()
    assert counter.count(str(tmp_path)) == 2
    (tmp_path / "a" / "2").touch()  # perhaps in the same tick as the listing
    assert counter.count(str(tmp_path)) == 3
    monkeypatch.setattr(eyewitness, "RECENT", -1000.0)  # as if time had passed
    assert counter.count(str(tmp_path)) == 3
    listed.clear()
    assert counter.count(str(tmp_path)) == 3
    assert listed == []
    a, of_b = tmp_path / "a", tmp_path / "b" / "1"
    wait_for(lambda: is_in_a_later_tick(of_b, a), "the kernel's next tick")
    (tmp_path / "a" / ".1.tmp").touch()
    (tmp_path / "a" / ".1.tmp").rename(tmp_path / "a" / "3")
    os.utime(tmp_path / "a", ns=(0, 0))
    assert counter.count(str(tmp_path)) == 4
    assert listed == [f"{tmp_path}/a"]


def test_a_digest_is_of_names_and_contents(tmp_path):
    for name, files in {"one": "ab", "two": "ab", "three": "ac"}.items():
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).write_bytes(file.encode())
    (tmp_path / "four").mkdir()
    (tmp_path / "four" / "a").write_bytes(b"a")
    (tmp_path / "four" / "b").write_bytes(b"B")
    digests = [eyewitness.digest(str(tmp_path / name)) for name in ("one", "two", "three", "four")]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
