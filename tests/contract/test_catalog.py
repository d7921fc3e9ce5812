"""Contract of ports.Catalog: SqliteCatalog and FakeCatalog pass the same tests. Add a new implementation to IMPLEMENTATIONS."""

import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from replicator.catalog.store import CatalogStore
from replicator.errors import SourceError
from replicator.model import (
    DIRECTORY,
    FILE,
    SYMLINK,
    Entry,
    Stamp,
    is_below,
    key,
    last_below,
    rebase,
)
from replicator.ports import Identity, Record
from tests.support.fakes.catalog import FakeCatalog
from tests.support.strategies import paths


class Sqlite:
    """Catalogs of several trees in one SQLite file."""

    def __init__(self, directory):
        self.path = directory / "catalog.sqlite"
        self.store = CatalogStore.open(self.path)

    def tree(self, source=b"/srv"):
        return self.store.tree(source)

    def restart(self):
        self.store.close()
        self.store = CatalogStore.open(self.path)
        assert not self.store.rebuilt

    def fail(self):
        self.store.close()

    def close(self):
        self.store.close()


class InMemory:
    """Fake catalogs of several trees. A restart keeps them, since they stand for a file."""

    def __init__(self, _directory):
        self.trees = {}

    def tree(self, source=b"/srv"):
        return self.trees.setdefault(source, FakeCatalog())

    def restart(self):
        pass

    def fail(self):
        for tree in self.trees.values():
            tree.failure = "the catalog cannot be used"

    def close(self):
        pass


IMPLEMENTATIONS = [Sqlite, InMemory]


@pytest.fixture(params=IMPLEMENTATIONS, ids=lambda made: made.__name__)
def world(request, tmp_path):
    opened = request.param(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def catalog(world):
    return world.tree()


def file(path, size=1, **more):
    entry = Entry(FILE, 0o644, size, 10, b"", b"\1" * 32)
    return Record(path, entry, Stamp(size, 10, 11, 12), **more)


def directory(path):
    return Record(path, Entry(DIRECTORY, 0o755, 0, 10), Stamp(4096, 10, 11, 12))


def names(records):
    return [record.path for record in records]


def test_a_new_catalog_knows_nothing(catalog):
    assert catalog.get([b"a"]) == {}
    assert catalog.scan(None, None, 10) == []
    assert catalog.below(b"") == []
    assert catalog.signature(b"a") is None
    assert catalog.counts() == (0, 0)
    assert catalog.root_identity() is None
    assert catalog.mounts() == {}
    assert catalog.paused() == ""
    assert catalog.withheld() is None


def test_the_version_differs_after_each_change_and_only_then(catalog):
    versions = [catalog.version(), catalog.version()]
    assert versions[0] == versions[1]
    for records, gone in (([file(b"a", 1)], []), ([file(b"a", 2)], []), ([], [b"a"])):
        catalog.apply(records, gone, {})
        assert catalog.version() != versions[-1]
        versions.append(catalog.version())
    catalog.apply([directory(b"d")], [], {})
    versions.append(catalog.version())
    catalog.move(b"d", b"e")
    assert catalog.version() != versions[-1]


def test_every_field_comes_back(catalog):
    records = [
        file(b"f", 1 << 40),
        directory(b"d"),
        Record(
            b"l",
            Entry(SYMLINK, 0, 0, 5, b"\xff/../x"),
            Stamp(1, 2, 3, 4),
            stable=False,
            problem="no\nway",
        ),
        Record(b"unread", Entry(FILE, 0, 3, -5), Stamp(-1, -1, -1, -1), problem="x"),
        Record(
            b"far",
            Entry(FILE, 0, 3, 2**63 + 5),
            Stamp(3, 2**63 + 5, -(2**62), 2**64 - 1),
        ),
    ]
    catalog.apply(records, [], {})
    assert catalog.get([record.path for record in records]) == {r.path: r for r in records}
    assert catalog.scan(None, None, 10) == sorted(records, key=lambda r: key(r.path))


def test_names_of_one_file_are_found_also_for_all_that_lies_below_a_directory(catalog):
    def named(path, inode, kind=FILE):
        return Record(path, Entry(kind, 0o644, 1, 10), Stamp(1, 10, 11, inode))

    huge = 2**64 - 1
    catalog.apply(
        [
            named(b"d", 1, DIRECTORY), named(b"d/f", 2), named(b"d/e/g", 2), named(b"d/h", huge), named(b"d/unread", -1),
            named(b"d!", 2), named(b"a/f", 2), named(b"twin", huge), named(b"other", 3), named(b"unread", -1),
        ],
        [],
        {},
    )  # fmt: skip
    assert catalog.sharing(2) == [b"a/f", b"d/e/g", b"d/f", b"d!"]
    assert catalog.sharing_below(b"d") == [b"a/f", b"d!", b"twin"]
    assert catalog.sharing_below(b"") == catalog.sharing_below(b"a/f") == []


def test_it_outlives_a_restart(world):
    catalog = world.tree()
    catalog.apply([file(b"a")], [], {b"a": b"packed"})
    catalog.set_root_identity(Identity(2**64 - 2, 7, 2**64 - 1))
    catalog.pause("too many\nare gone", 5, [b"a", b"b"])
    catalog.pause("too many\nare gone", 5, [b"b", b"c"])
    catalog.set_mounts({b"d\xff": "uuid", b"e": ""})
    world.restart()
    catalog = world.tree()
    assert names(catalog.scan(None, None, 9)) == [b"a"]
    assert catalog.signature(b"a") == b"packed"
    assert catalog.root_identity() == Identity(2**64 - 2, 7, 2**64 - 1)
    assert catalog.paused() == "too many\nare gone"
    assert catalog.mounts() == {b"d\xff": "uuid", b"e": ""}
    assert world.tree(b"/other").paused() == ""
    assert catalog.withheld() == (2, 5), "b and c; a exists"
    assert sorted(catalog.withheld_samples(9)) == [b"b", b"c"]
    assert len(catalog.withheld_samples(1)) == 1
    catalog.unpause()
    assert catalog.paused() == ""
    assert catalog.withheld() is None
    assert catalog.withheld_samples(9) == []
    assert world.tree(b"/other").withheld() is None
    catalog.pause("again", 7, [b"d/e"])
    assert catalog.withheld() == (1, 7)
    assert catalog.withheld_samples(9) == [b"d/e"]


def test_trees_do_not_mix(world):
    one, two = world.tree(b"/one"), world.tree(b"/two")
    one.apply([file(b"a"), file(b"b")], [], {b"a": b"1"})
    two.apply([file(b"a", 7)], [b"b"], {})
    two.move(b"a", b"c")
    assert names(one.scan(None, None, 9)) == [b"a", b"b"]
    assert one.signature(b"a") == b"1"
    assert two.counts() == (1, 7)


def test_scan_is_a_range_in_the_order_of_a_walk(catalog):
    walked = [b"a", b"a/b", b"a/b/c", b"a/z", b"a\x01", b"a-b", b"a.x", b"b"]
    catalog.apply([file(path) for path in reversed(walked)], [], {})
    assert names(catalog.scan(None, None, 99)) == walked
    assert names(catalog.scan(b"a", None, 2)) == [b"a/b", b"a/b/c"]
    assert names(catalog.scan(b"a", b"a/b/c", 99)) == [b"a/b", b"a/b/c"]
    assert names(catalog.scan(b"a", last_below(b"a"), 99)) == [b"a/b", b"a/b/c", b"a/z"]
    assert names(catalog.scan(b"a/zz", b"a.w", 99)) == [b"a\x01", b"a-b"]
    assert catalog.below(b"a") == [b"a/b", b"a/b/c", b"a/z"]
    assert catalog.below(b"") == walked


def test_those_of_many_paths_that_have_entries_below_them_are_found_in_one_call(catalog):
    assert catalog.parents_among([b"", b"a"]) == set()
    some = [b"a", b"a/b/c", b"a.x", b"file", b"\xff/\xff"]
    many = [b"many/%d" % number for number in range(200)]
    catalog.apply([file(path) for path in (*some, *many)], [], {})
    assert catalog.parents_among([]) == set()
    asked = [b"", b"a", b"a/b", b"a/b/c", b"a.x", b"fil", b"file", b"\xff", b"many", *many]
    assert catalog.parents_among(asked) == {b"", b"a", b"a/b", b"\xff", b"many"}
    assert catalog.parents_among([b"many"] * 65 + [b"a"]) == {b"many", b"a"}


@pytest.mark.parametrize("count", [1, 2, 3, 63, 64, 65, 200])
def test_many_records_are_returned_in_the_order_in_which_they_were_asked_for(catalog, count):
    paths = [b"f%d" % number for number in range(count)]
    catalog.apply([file(path) for path in paths], [], {})
    asked = [b"unknown", *reversed(paths), b"other"]
    assert list(catalog.get(asked)) == paths[::-1]


def test_gone_forgets_the_path_itself_and_its_signature(catalog):
    catalog.apply([directory(b"d"), file(b"d/f")], [], {b"d/f": b"1"})
    catalog.apply([], [b"d", b"unknown"], {})
    assert catalog.below(b"") == [b"d/f"]
    catalog.apply([], [b"d/f"], {})
    assert catalog.signature(b"d/f") is None


def test_signatures_stay_until_they_are_replaced_forgotten_or_pointless(catalog):
    catalog.apply([file(b"a"), file(b"b")], [], {b"a": b"1", b"b": b"2"})
    catalog.apply([file(b"a", 2)], [], {})
    assert catalog.signature(b"a") == b"1"
    catalog.apply([], [], {b"a": b"\0" * 100, b"b": None})
    assert (catalog.signature(b"a"), catalog.signature(b"b")) == (b"\0" * 100, None)
    catalog.apply([directory(b"a")], [], {})
    assert catalog.signature(b"a") is None


def test_move_takes_everything_along_and_clears_its_target(catalog):
    catalog.apply(
        [directory(b"a"), file(b"a/\xff"), file(b"a.x"), directory(b"t"), file(b"t/old"), file(b"t.x")],
        [],
        {b"a/\xff": b"1", b"t/old": b"2"},
    )  # fmt: skip
    catalog.move(b"a", b"t")
    assert catalog.below(b"") == [b"a.x", b"t", b"t/\xff", b"t.x"]
    assert catalog.signature(b"t/\xff") == b"1"
    assert catalog.signature(b"t/old") is None
    assert catalog.signature(b"a/\xff") is None
    catalog.move(b"t", b"t")
    catalog.move(b"nothing", b"a.x")
    assert catalog.below(b"") == [b"t", b"t/\xff", b"t.x"]


def test_a_failed_apply_leaves_nothing_behind(catalog):
    catalog.apply([file(b"a")], [], {})
    with pytest.raises(Exception):  # noqa: B017, PT011  # whatever says that this is no record
        catalog.apply([file(b"b"), ("nonsense",)], [b"a"], {})
    assert catalog.below(b"") == [b"a"]


def test_another_content_of_equal_size_and_time_is_marked_as_ambiguous(catalog):
    def version(path, digest, mtime=10, size=1):
        entry = Entry(FILE, 0o644, size, mtime, b"", digest * 32)
        return Record(path, entry, Stamp(size, mtime, 10**12, 12))

    def ambiguous():
        return [record.path for record in catalog.scan(None, None, 99) if record.ambiguous]

    paths = b"content", b"time", b"size", b"same"
    catalog.apply([version(path, b"1") for path in paths], [], {})
    catalog.apply([], paths, {})
    made = [version(b"content", b"2"), version(b"time", b"2", 11), version(b"size", b"2", 10, 2)]
    catalog.apply([*made, version(b"same", b"1")], [], {})
    assert ambiguous() == [b"content"]
    catalog.apply([version(b"same", b"1", 20)], [], {})
    catalog.apply([version(b"same", b"2")], [], {})
    assert ambiguous() == [b"content", b"same"]
    catalog.apply([version(b"a/f", b"1"), version(b"b/f", b"2")], [], {})
    for source, target in ((b"a", b"x"), (b"b", b"a"), (b"x", b"b")):
        catalog.move(source, target)
    assert ambiguous() == [b"a/f", b"b/f", b"content", b"same"]


USES = {
    "get": lambda catalog: catalog.get([b"unknown"]),
    "scan": lambda catalog: catalog.scan(None, None, 1),
    "below": lambda catalog: catalog.below(b""),
    "parents_among": lambda catalog: catalog.parents_among([b"a"]),
    "sharing": lambda catalog: catalog.sharing(1),
    "sharing_below": lambda catalog: catalog.sharing_below(b""),
    "apply": lambda catalog: catalog.apply([file(b"b")], [], {}),
    "move": lambda catalog: catalog.move(b"a", b"b"),
    "signature": lambda catalog: catalog.signature(b"a"),
    "counts": lambda catalog: catalog.counts(),
    "root_identity": lambda catalog: catalog.root_identity(),
    "set_root_identity": lambda catalog: catalog.set_root_identity(Identity(1, 2)),
    "paused": lambda catalog: catalog.paused(),
    "pause": lambda catalog: catalog.pause("many", 1, [b"a"]),
    "unpause": lambda catalog: catalog.unpause(),
    "withheld": lambda catalog: catalog.withheld(),
    "withheld_samples": lambda catalog: catalog.withheld_samples(1),
    "mounts": lambda catalog: catalog.mounts(),
    "set_mounts": lambda catalog: catalog.set_mounts({}),
}


@pytest.mark.parametrize("use", USES)
def test_a_catalog_that_cannot_be_used_raises_source_error(world, use):
    catalog = world.tree()
    catalog.apply([file(b"a")], [], {})
    world.fail()
    with pytest.raises(SourceError, match="cannot be used"):
        USES[use](catalog)


def test_readers_never_see_half_a_write_nor_wait_for_it(catalog):
    """Two threads read while one writes: each read sees all of a transaction, and what was applied before."""
    done = threading.Event()
    failures = []

    def read():
        last = 0
        while not done.is_set():
            sizes = {record.entry.size for record in catalog.scan(None, None, 100)}
            if len(sizes) > 1 or min(sizes, default=0) < last:
                failures.append((last, sizes))
            last = max(sizes, default=0)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for size in range(1, 101):
        catalog.apply([file(b"%d" % i, size) for i in range(50)], [], {})
        assert {r.entry.size for r in catalog.get([b"7"]).values()} == {size}
    done.set()
    for reader in readers:
        reader.join()
    assert failures == []


def test_many_writers_are_serialised(catalog):
    def write(start):
        for i in range(start, start + 30):
            catalog.apply([file(b"%d" % i)], [], {})

    writers = [threading.Thread(target=write, args=(start,)) for start in (0, 30, 60)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert catalog.counts() == (90, 90)


# A few names only, so that moves and deletes meet what is there.
FEW = st.lists(
    st.sampled_from([b"a", b"a.x", b"a-b", b"\xff", b"b\n"]), min_size=1, max_size=3
).map(b"/".join)
SOME = FEW | paths


class Model(RuleBasedStateMachine):
    """A catalog does what two dictionaries do."""

    implementation = None

    @initialize()
    def open(self):
        self.directory = TemporaryDirectory()
        self.world = self.implementation(Path(self.directory.name))
        self.catalog = self.world.tree()
        self.records = {}
        self.signatures = {}

    @rule(new=st.lists(SOME, max_size=4), size=st.integers(0, 9), gone=st.lists(SOME, max_size=2),
          signed=st.dictionaries(SOME, st.none() | st.just(b"s"), max_size=2), plain=st.booleans())  # fmt: skip
    def apply(self, new, size, gone, signed, plain):
        gone = [path for path in gone if path not in new and path not in signed]
        records = [file(path, size) if plain else directory(path) for path in new]
        signed = {path: packed for path, packed in signed.items() if plain or path not in new}
        self.catalog.apply(records, gone, signed)
        for path in gone:
            self.records.pop(path, None)
            self.signatures.pop(path, None)
        for record in records:
            self.records[record.path] = record
            if not plain:
                self.signatures.pop(record.path, None)
        for path, packed in signed.items():
            self.signatures[path] = packed

    @rule(source=SOME, into=SOME)
    def move(self, source, into):
        self.catalog.move(source, into)
        if source == into:
            return
        for kept in (self.records, self.signatures):
            moving = {p: kept.pop(p) for p in list(kept) if p == source or is_below(p, source)}
            for path in [p for p in kept if p == into or is_below(p, into)]:
                del kept[path]
            for path, value in moving.items():
                at = rebase(path, source, into)
                kept[at] = value._replace(path=at) if isinstance(value, Record) else value

    @rule(after=st.none() | SOME, until=st.none() | SOME, limit=st.integers(1, 5))
    def scan(self, after, until, limit):
        expected = [
            path
            for path in sorted(self.records, key=key)
            if (after is None or key(path) > key(after))
            and (until is None or key(path) <= key(until))
        ]
        assert names(self.catalog.scan(after, until, limit)) == expected[:limit]

    @rule(where=SOME | st.just(b""))
    def below(self, where):
        expected = [p for p in sorted(self.records, key=key) if is_below(p, where)]
        assert self.catalog.below(where) == expected
        assert self.catalog.parents_among([where]) == ({where} if expected else set())

    @rule(asked=st.lists(SOME, max_size=5))
    def get(self, asked):
        expected = {path: self.records[path] for path in asked if path in self.records}
        assert self.catalog.get(asked) == expected
        for path in asked:
            assert self.catalog.signature(path) == self.signatures.get(path)

    @rule()
    def restart(self):
        self.world.restart()
        self.catalog = self.world.tree()

    @invariant()
    def counts(self):
        if hasattr(self, "catalog"):
            size = sum(record.entry.size for record in self.records.values())
            assert self.catalog.counts() == (len(self.records), size)

    def teardown(self):
        if hasattr(self, "catalog"):
            self.world.close()
            self.directory.cleanup()


def test_any_sequence_of_changes_has_the_result_that_it_has_on_two_dictionaries(world):
    model = type("Model", (Model,), {"implementation": type(world)})
    run_state_machine_as_test(
        model, settings=settings(max_examples=40, stateful_step_count=25, deadline=None)
    )
