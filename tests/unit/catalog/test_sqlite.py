"""What only the SQLite catalog promises; the rest is in the contract of all catalogs."""

import pytest

from replicator.catalog.sqlite import CatalogStore
from replicator.model import FILE, Entry, Stamp
from replicator.ports import Record


def record(path, size=1):
    return Record(path, Entry(FILE, 0o644, size, 10, b"", b"\1" * 32), Stamp(size, 10, 11, 12))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "catalog.sqlite"


@pytest.fixture
def store(path):
    opened = CatalogStore.open(path)
    yield opened
    opened.close()


def test_a_moved_subtree_is_found_by_range_not_by_scan(store):
    """100,000 paths elsewhere must not slow the move of a small directory: the plan searches by key."""
    from replicator.catalog import schema

    db = store._writer
    for statement, values in [*((s, (b"t", 2, 1, b"a", b"b")) for s in schema.RELABEL),
                              *((s, (1, b"a", b"b")) for s in schema.CLEAR),
                              (schema.SCAN, (1, b"a", b"b", 5)), (schema.BELOW, (1, b"a", b"b"))]:  # fmt: skip
        plan = " ".join(row[3] for row in db.execute("EXPLAIN QUERY PLAN " + statement, values))
        assert "SEARCH" in plan
        assert "SCAN" not in plan
        assert "B-TREE" not in plan


def test_a_signature_that_is_no_blob_any_more_is_none(store):
    catalog = store.tree(b"/a")
    catalog.apply([record(b"a")], [], {b"a": b"packed"})
    with store.writing() as db:
        db.execute("UPDATE signatures SET packed = 'a text'")
    assert catalog.signature(b"a") is None


def test_counts_are_counted_once_for_each_write(store, monkeypatch):
    catalog = store.tree(b"/a")
    catalog.apply([record(b"a", 5)], [], {})
    assert catalog.counts() == (1, 5)
    with monkeypatch.context() as patch:
        patch.setattr(store, "reading", None)
        assert catalog.counts() == (1, 5)
    catalog.move(b"a", b"b")
    catalog.apply([record(b"c", 2)], [], {})
    assert catalog.counts() == (2, 7)
    catalog.apply([], [b"b"], {})
    assert catalog.counts() == (1, 2)
