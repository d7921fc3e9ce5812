"""A walk beside the catalog: what it reads, and which scans it rejects."""

import os

import pytest

from replicator.engine.ingest.checker import Checker
from replicator.engine.ingest.scan import scan
from replicator.errors import SourceError
from replicator.ports import Identity
from tests.support.fakes.catalog import FakeCatalog
from tests.support.fakes.source import FakeSource


class Walked:
    """A source and a catalog in memory, and what the last walk found.

    Attributes:
        updates: path to the problem that was reported with it.
        gone: in the order in which it was reported.
    """

    def __init__(self):
        self.source, self.catalog = FakeSource(), FakeCatalog()
        self.checker = Checker(self.source, self.catalog)

    def admit(self):
        """Trust the directory that the root's path names now."""
        self.source.reopen()
        self.source.set_doubt("")

    def walk(self, below=b"", **how):
        found = list(scan(self.checker, below, **how))
        self.updates = {u.record.path: u.record.problem for one in found for u in one.updates}
        self.gone = [path for one in found for path in one.gone]
        self.missing = [path for one in found for path in one.missing]


@pytest.fixture
def walked():
    made = Walked()
    made.source.mkdir(b"d")
    made.source.write(b"d/f", b"content")
    made.source.write(b"e", b"content")
    made.walk()
    return made


def test_a_source_that_is_suddenly_empty_is_in_doubt(world):
    path = world.write("a")
    world.record()
    path.unlink()

    with pytest.raises(SourceError, match="mounted"):
        world.scan()
    assert world.catalog.get([b"a"])


def test_a_special_file_is_left_out(world):
    os.mkfifo(world.root / "fifo")

    assert world.scan()[:2] == ({}, [])


def test_a_scan_checks_only_paths_where_source_and_catalog_differ(walked):
    walked.source.hashed.clear()
    walked.source.write(b"d/new", b"content")
    walked.source.remove(b"e")
    walked.walk()

    assert walked.updates == {b"d/new": ""}
    assert walked.gone == [b"e"]
    assert walked.source.hashed == [b"d/new"]


def test_only_a_scan_beside_records_asks_for_other_names_of_a_new_file():
    """A query for each file of a first scan would take a tenth of its time."""
    new, asked = Walked(), []
    sharing = new.catalog.sharing
    new.catalog.sharing = lambda inode: asked.append(inode) or sharing(inode)
    new.source.write(b"a", b"content")
    new.walk()
    assert asked == []
    new.source.write(b"b", b"content")
    new.walk()
    assert asked == [new.source.stat(b"b").stamp.inode]


def test_nothing_is_deleted_below_a_directory_that_cannot_be_listed(walked):
    walked.source.unlisted[b"d"] = "Permission denied"
    walked.source.remove(b"d/f")
    walked.walk()
    assert walked.updates == {b"d": "Permission denied"}
    assert walked.gone == []
    assert b"d/f" in walked.catalog.records

    walked.walk()
    assert walked.updates == {}, "it is reported once"

    walked.source.unlisted.clear()
    walked.walk()
    assert walked.updates == {b"d": ""}
    assert walked.gone == [b"d/f"]


def test_a_source_that_cannot_be_listed_is_in_doubt(walked):
    walked.source.unlisted[b""] = "Input/output error"
    with pytest.raises(SourceError, match="Input/output error"):
        walked.walk()


def test_another_source_is_accepted_after_confirmation(walked):
    walked.source.identity = Identity(7, 7)
    walked.admit()
    for path in (b"d", b"e"):
        walked.source.remove(path)
    walked.source.write(b"other", b"content")
    with pytest.raises(SourceError, match="another directory"):
        walked.walk()
    assert walked.catalog.root_identity() == Identity(1, 2)

    walked.admit()
    walked.walk(confirmed=True)
    assert sorted(walked.gone) == [b"d", b"d/f", b"e"]
    assert walked.catalog.root_identity() == Identity(7, 7)


def test_a_directory_that_vanishes_during_its_scan_is_missing_with_all_below(walked):
    walked.checker.defers = True
    walked.source.remove(b"d")
    walked.walk(b"d")
    assert walked.gone == []
    assert walked.missing == [b"d"]
