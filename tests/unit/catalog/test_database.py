"""The file is private, and damage costs no more than a new reading."""

import os
import sqlite3
import stat

import pytest

from replicator.catalog.store import CatalogStore
from replicator.errors import SourceError
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


def test_a_connection_that_is_in_use_during_close_is_closed_afterwards(path):
    """The reader reads `_closed`, the store is closed, and only then is the connection put back."""
    database = CatalogStore.open(path)

    class Idle(list):
        def append(self, connection):
            if not database._closed:
                database.close()
            super().append(connection)

    database._idle = Idle()
    with database.reading() as connection:
        pass
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")


def test_no_other_user_can_read_it(path):
    old = os.umask(0)
    try:
        store = CatalogStore.open(path)
        store.tree(b"/a").apply([record(b"a")], [], {})
        modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()}
        store.close()
    finally:
        os.umask(old)
    assert modes == dict.fromkeys([f"catalog.sqlite{end}" for end in ("", "-wal", "-shm")], 0o600)


def test_permissions_that_were_widened_are_narrowed(path):
    CatalogStore.open(path).close()
    path.chmod(0o644)
    CatalogStore.open(str(path)).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_multiplier_is_odd_and_stays(path):
    store = CatalogStore.open(path)
    first = store.multiplier
    store.close()
    store = CatalogStore.open(path)
    assert store.multiplier == first
    assert first & 1
    assert 0 < first < 1 << 32
    assert store.rebuilt == ""
    store.close()


@pytest.mark.parametrize(
    "content", [b"this is no database at all " * 100, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_a_damaged_file_is_moved_aside(path, content):
    for number in (1, 2):
        path.write_bytes(content)
        store = CatalogStore.open(path)
        assert f"broken-{number}" in store.rebuilt
        assert path.with_name(f"catalog.sqlite.broken-{number}").read_bytes() == content
        store.tree(b"/a").apply([record(b"a")], [], {})
        store.close()


@pytest.mark.parametrize(
    "statement", ["UPDATE meta SET value = '0' WHERE name = 'schema'", "DROP TABLE meta"]
)
def test_another_schema_is_begun_anew(path, statement):
    CatalogStore.open(path).close()
    db = sqlite3.connect(path)
    db.execute(statement)
    db.commit()
    db.close()
    store = CatalogStore.open(path)
    assert store.rebuilt
    assert store.tree(b"/a").counts() == (0, 0)
    store.close()


def test_a_broken_page_is_found_at_the_start(path):
    store = CatalogStore.open(path)
    store.tree(b"/a").apply([record(b"%05d" % i) for i in range(2000)], [], {})
    store.close()
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(4096 * 6)
        file.write(b"\xa5" * (size - 4096 * 6))
    store = CatalogStore.open(path)
    assert "broken-1" in store.rebuilt
    assert store.tree(b"/a").counts() == (0, 0)
    store.close()
    store = CatalogStore.open(path)
    assert store.rebuilt == ""
    store.close()


CHANGES = [
    "size = size + 1", "mtime = mtime + 1", "mode = 511", "kind = 'directory'", "digest = zeroblob(32)",
    "link = CAST('x' AS BLOB)", "stamp_ctime = stamp_ctime + 1", "stamp_inode = '12'", "firm = 1 - firm", "sum = 0",
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("read", ["get", "scan"])
def test_a_row_that_was_changed_is_found_when_it_is_read(path, change, read):
    store = CatalogStore.open(path)
    store.tree(b"/a").apply([record(b"%05d" % i) for i in range(20)], [], {})
    store.close()
    db = sqlite3.connect(path)
    db.execute(f"UPDATE entries SET {change} WHERE key = CAST('00007' AS BLOB)")
    db.commit()
    db.close()
    store = CatalogStore.open(path)
    assert not store.rebuilt
    catalog, reported = store.tree(b"/a"), []
    store.on_damage = reported.append
    assert len(catalog.get([b"00006", b"00008"])) == 2
    with pytest.raises(SourceError, match="Restart the daemon"):
        catalog.get([b"00007"]) if read == "get" else catalog.scan(None, None, 5000)
    assert len(reported) == 1
    assert "Restart the daemon" in reported[0]
    store.close()
    store = CatalogStore.open(path)
    assert "broken-1" in store.rebuilt
    assert store.tree(b"/a").counts() == (0, 0)
    store.close()
    store = CatalogStore.open(path)
    assert store.rebuilt == ""
    store.close()


def test_a_database_that_cannot_be_opened_is_an_error_and_stays_unchanged(tmp_path):
    directory = tmp_path / "catalog.sqlite"
    directory.mkdir()
    with pytest.raises(SourceError, match="cannot be opened"):
        CatalogStore.open(directory)
    with pytest.raises(SourceError, match="cannot be opened"):
        CatalogStore.open(tmp_path / "missing" / "catalog.sqlite")
    assert directory.is_dir()


def test_a_full_disk_halts_and_undoes(store):
    catalog = store.tree(b"/a")
    catalog.apply([record(b"a")], [], {})
    writer = store._writer
    pages = writer.execute("PRAGMA page_count").fetchone()[0]
    writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(SourceError, match="full"):
        catalog.apply([record(b"%0200d" % i) for i in range(1000)], [b"a"], {})
    writer.execute("PRAGMA max_page_count = 1000000")
    assert catalog.below(b"") == [b"a"]
    catalog.apply([record(b"b")], [], {})
    assert catalog.below(b"") == [b"a", b"b"]


def connections_to(path):
    """Return how often this process has a file open."""
    links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    return sum(os.path.realpath(link) == os.path.realpath(path) for link in links)


def test_connections_are_reused_and_closed(store, path):
    catalog = store.tree(b"/a")
    for _ in range(10):
        catalog.get([b"a"])
    assert connections_to(path) == 2, "one writes, one reads"
    store.close()
    with pytest.raises(SourceError):
        catalog.get([b"a"])
    with pytest.raises(SourceError):
        catalog.apply([record(b"a")], [], {})
    store.close()


def test_only_the_last_damaged_files_are_kept(path):
    for number in range(1, 13):
        path.write_bytes(b"this is no database at all %d" % number)
        CatalogStore.open(path).close()
    kept = {one.name for one in path.parent.iterdir() if "broken" in one.name}
    assert kept == {f"catalog.sqlite.broken-{number}" for number in (10, 11, 12)}
