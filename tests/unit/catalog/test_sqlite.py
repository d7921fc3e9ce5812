"""What only the SQLite catalog promises; the rest is in the contract of all catalogs."""

import sqlite3
from contextlib import closing

import pytest

from replicator.catalog.store import CatalogStore
from replicator.model import FILE, Entry, Stamp
from replicator.ports import Identity, Record


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


def rows(path, table):
    """Return the number of rows, as another process sees it."""
    with closing(sqlite3.connect(path)) as db:
        return db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def test_a_moved_subtree_is_found_by_range_not_by_scan(store, path):
    """100,000 paths elsewhere must not slow the move of a small directory: the plan searches by key."""
    from replicator.catalog import history, schema

    for statement, values in [*((s, (b"t", 2, 1, b"a", b"b")) for s in schema.RELABEL),
                              *((s, (1, b"a", b"b")) for s in schema.CLEAR),
                              (history.NOTE_BELOW, (1, b"a", b"b")), (history.CLASHING, (1, b"a", b"b")),
                              (history.TRIM, ()), (schema.SCAN, (1, b"a", b"b", 5)), (schema.BELOW, (1, b"a", b"b"))]:  # fmt: skip
        with closing(sqlite3.connect(path)) as db:
            rows_of_plan = db.execute("EXPLAIN QUERY PLAN " + statement, values).fetchall()
        plan = " ".join(row[3] for row in rows_of_plan)
        assert "SEARCH" in plan
        assert "SCAN" not in plan
        assert "B-TREE" not in plan


def test_names_below_a_directory_of_thousands_are_found_through_their_inodes(store):
    """The work is counted, not timed: joined the wrong way round, SQLite takes a thousand times the steps."""
    catalog, steps = store.tree(b"/srv"), 0
    stamps = [Stamp(1, 10, 11, 100 + number) for number in range(2000)]
    for above in (b"d", b"e"):
        entry, there = Entry(FILE, 0o644, 1, 10), [above + b"/%d" % n for n in range(2000)]
        catalog.apply([Record(n, entry, s) for n, s in zip(there, stamps, strict=True)], [], {})

    def step():
        nonlocal steps
        steps += 1

    with store.reading() as db:
        db.set_progress_handler(step, 1000)
    assert len(catalog.sharing_below(b"d")) == 2000
    assert 0 < steps < 1000


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


@pytest.fixture
def nothing_kept(monkeypatch):
    monkeypatch.setattr("replicator.catalog.store.SAMPLE", 0)


def emptied(store):
    while store.clean():
        pass
    return store


@pytest.mark.usefixtures("nothing_kept")
def test_an_abandoned_tree_is_deleted_and_others_stay(store, path, monkeypatch):
    monkeypatch.setattr("replicator.catalog.store.SLICE", 7)
    paths = [b"f%d" % number for number in range(30)]
    for source in (b"/before", b"/gone", b"/after"):
        store.tree(source).apply([record(p) for p in paths], [], dict.fromkeys(paths, b"packed"))
    store.abandon(b"/gone")
    assert emptied(store).recorded() == {b"/before", b"/after"}
    for source in (b"/before", b"/after"):
        assert store.tree(source).counts()[0] == 30
        assert store.tree(source).signature(b"f7") == b"packed"
    assert rows(path, "signatures") == 60


@pytest.mark.usefixtures("nothing_kept")
def test_a_tree_that_comes_back_loses_nothing_to_the_deletion_of_what_it_was(store):
    store.tree(b"/t").apply([record(b"old")], [], {b"old": b"packed"})
    store.abandon(b"/t")
    again = store.tree(b"/t")
    again.apply([record(b"new")], [], {b"new": b"packed"})
    emptied(store)
    assert [r.path for r in again.scan(None, None, 9)] == [b"new"]
    assert again.signature(b"new") == b"packed"


@pytest.mark.usefixtures("nothing_kept")
def test_a_late_write_to_an_abandoned_tree_affects_no_other(store):
    late = store.tree(b"/t")
    late.apply([record(b"old")], [], {})
    store.abandon(b"/t")
    emptied(store)
    late.apply([record(b"late")], [], {})
    again, other = store.tree(b"/t"), store.tree(b"/other")
    assert not again.get([b"late"])
    assert not other.get([b"late"])
    emptied(store)
    assert not late.scan(None, None, 9)


@pytest.mark.usefixtures("nothing_kept")
def test_what_protects_the_frontends_outlives_an_abandoned_tree(store):
    tree = store.tree(b"/t")
    tree.apply([record(b"old")], [], {})
    tree.set_root_identity(Identity(5, 1 << 63, 7))
    tree.pause("60 of 100 paths are gone", 100, [b"gone"])
    tree.set_mounts({b"vol": "xfs"})
    store.abandon(b"/t")
    again = emptied(store).tree(b"/t")
    assert again.counts() == (0, 0)
    assert again.root_identity() == Identity(5, 1 << 63, 7)
    assert again.paused() == "60 of 100 paths are gone"
    assert again.withheld() is None, "only a person ends it"
    assert again.mounts() == {b"vol": "xfs"}


def test_an_unknown_tree_is_abandoned_without_a_trace(store):
    store.abandon(b"/nowhere")
    assert store.recorded() == set()


@pytest.mark.usefixtures("nothing_kept")
def test_what_a_crash_left_of_an_abandoned_tree_is_deleted_by_the_next_daemon(store, path):
    store.tree(b"/t").apply([record(b"old")], [], {})
    store.abandon(b"/t")
    store.close()
    again = CatalogStore.open(path)
    assert again.clean()
    assert rows(path, "entries") == 0
    again.close()


def test_some_entries_of_an_abandoned_tree_stay_so_that_an_empty_source_is_noticed(store):
    paths = [b"f%03d" % number for number in range(250)]
    store.tree(b"/t").apply([record(p) for p in paths], [], {})
    assert store.recorded() == {b"/t"}
    store.abandon(b"/t")
    assert emptied(store).recorded() == set()
    assert [r.path for r in store.tree(b"/t").scan(None, None, 999)] == paths[:100]
