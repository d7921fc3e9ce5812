"""Recent records: bounded, and never older than the last write."""

from replicator.catalog.recent import Recent
from replicator.model import FILE, Entry, Stamp
from replicator.ports import Record


def record(path, size=1):
    return Record(path, Entry(FILE, 0o644, size, 0), Stamp(size, 0, 0, 0))


def test_what_is_kept_is_found():
    recent = Recent()
    recent.keep([record(b"a"), record(b"b")], 0)
    assert recent.find([b"a", b"c"]) == ({b"a": record(b"a")}, 0)


def test_what_is_written_is_not_found_any_more():
    recent = Recent()
    recent.keep([record(b"a"), record(b"b")], 0)
    recent.written([b"a"])
    assert recent.find([b"a", b"b"]) == ({b"b": record(b"b")}, 1)
    recent.all_written()
    assert recent.find([b"b"]) == ({}, 2)


def test_what_was_read_before_a_write_is_not_kept_after_it():
    recent = Recent()
    _, writes = recent.find([b"a"])
    recent.written([b"z"])
    recent.keep([record(b"a")], writes)
    assert recent.find([b"a"]) == ({}, 1)


def test_it_is_bounded():
    recent = Recent(limit=3)
    recent.keep([record(b"%d" % n) for n in range(5)], 0)
    assert list(recent.find([b"%d" % n for n in range(5)])[0]) == [b"2", b"3", b"4"]
