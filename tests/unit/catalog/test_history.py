"""Earlier versions in the catalog: a record with the size and mtime of one of them is ambiguous."""

import pytest

from replicator.catalog import history
from replicator.catalog.store import CatalogStore
from replicator.model import DIRECTORY, FILE, Entry, Stamp
from replicator.ports import Record

HOUR = 3600 * 10**9


def record(path, content=1, *, size=1, mtime=10, ctime=HOUR):
    entry = Entry(FILE, 0o644, size, mtime, b"", bytes([content]) * 32)
    return Record(path, entry, Stamp(size, mtime, ctime, 12))


def directory(path):
    return Record(path, Entry(DIRECTORY, 0o755, 0, 10, b"", b""), Stamp(0, 10, 10, 13))


@pytest.fixture
def store(tmp_path):
    opened = CatalogStore.open(tmp_path / "catalog.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def catalog(store):
    return store.tree(b"/a")


def ambiguous(catalog, path=b"a"):
    return catalog.get([path])[path].ambiguous


def test_a_path_that_is_removed_and_made_again_with_other_content(catalog):
    catalog.apply([record(b"a", 1)], [], {})
    catalog.apply([], [b"a"], {})
    catalog.apply([record(b"a", 2)], [], {})
    assert ambiguous(catalog)


def test_the_same_content_again_or_another_size_or_time_is_not_marked(catalog):
    catalog.apply([record(b"a", 1), record(b"b", 1), record(b"c", 1)], [], {})
    catalog.apply([], [b"a", b"b", b"c"], {})
    catalog.apply([record(b"a", 1), record(b"b", 2, size=2), record(b"c", 2, mtime=11)], [], {})
    assert not any(ambiguous(catalog, path) for path in (b"a", b"b", b"c"))


def test_the_second_of_two_contents_is_marked_also_when_it_comes_again(catalog):
    for content in (1, 2):
        catalog.apply([record(b"a", content)], [], {})
        catalog.apply([], [b"a"], {})
    catalog.apply([record(b"a", 2)], [], {})
    assert ambiguous(catalog), "a frontend may hold the first one"


def test_another_version_or_another_kind_in_between_changes_nothing(catalog):
    for between in (record(b"a", 3, size=7), directory(b"a")):
        catalog.apply([record(b"a", 1)], [], {})
        catalog.apply([between], [], {})
        catalog.apply([record(b"a", 2)], [], {})
        assert ambiguous(catalog)
        catalog.apply([], [b"a"], {})


def test_a_placeholder_before_the_content_changes_nothing(catalog):
    catalog.apply([record(b"a", 1)], [], {})
    catalog.apply([], [b"a"], {})
    placeholder = record(b"a")
    catalog.apply([placeholder._replace(entry=placeholder.entry._replace(digest=b""))], [], {})
    assert not ambiguous(catalog)
    catalog.apply([record(b"a", 2)], [], {})
    assert ambiguous(catalog)


def test_directories_that_are_swapped_by_renames(catalog):
    names = [directory(b"a"), record(b"a/f", 1), directory(b"b"), record(b"b/f", 2)]
    catalog.apply([*names, record(b"a/same", 3), record(b"b/same", 3)], [], {})
    for source, target in ((b"a", b"x"), (b"b", b"a"), (b"x", b"b")):
        catalog.move(source, target)
    assert ambiguous(catalog, b"a/f")
    assert ambiguous(catalog, b"b/f")
    assert not ambiguous(catalog, b"a/same")
    assert not ambiguous(catalog, b"b/same")


def test_it_outlives_a_restart_and_trees_do_not_mix(tmp_path):
    path = tmp_path / "other.sqlite"
    first = CatalogStore.open(path)
    first.tree(b"/a").apply([record(b"a", 1)], [], {})
    first.tree(b"/a").apply([], [b"a"], {})
    first.close()
    second = CatalogStore.open(path)
    for root in (b"/a", b"/b"):
        second.tree(root).apply([record(b"a", 2)], [], {})
    assert ambiguous(second.tree(b"/a"))
    assert not ambiguous(second.tree(b"/b"))
    second.close()


def test_it_is_bounded_and_a_growing_log_does_not_fill_it(store, catalog, monkeypatch):
    for size in range(20):
        catalog.apply([record(b"log", size=size, mtime=size, ctime=size)], [], {})
    with store.reading() as db:
        assert db.execute("SELECT count(*) FROM past").fetchone() == (0,)
    monkeypatch.setattr(history, "TRIM", history.TRIM.replace(str(history.LIMIT), "5"))
    for number in range(20):
        catalog.apply([record(b"%d" % number)], [], {})
        catalog.apply([], [b"%d" % number], {})
    with store.reading() as db:
        kept = {row[0] for row in db.execute("SELECT key FROM past")}
    assert kept == {b"15", b"16", b"17", b"18", b"19"}
