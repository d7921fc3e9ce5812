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


def test_it_is_bounded_and_the_last_half_is_there():
    recent, paths = Recent(limit=6), [b"%d" % n for n in range(20)]
    for number, path in enumerate(paths):
        recent.keep([record(path)], 0)
        found = list(recent.find(paths)[0])
        assert len(found) <= 6
        assert found[-3:] == paths[: number + 1][-3:]


def test_what_is_written_is_forgotten_however_old_it_is():
    recent = Recent(limit=4)
    recent.keep([record(b"a"), record(b"b")], 0)
    recent.keep([record(b"a", size=2)], 0)
    assert recent.find([b"a"])[0] == {b"a": record(b"a", size=2)}
    recent.written([b"a"])
    assert recent.find([b"a", b"b"])[0] == {b"b": record(b"b")}
    recent.all_written()
    assert recent.find([b"a", b"b"])[0] == {}
