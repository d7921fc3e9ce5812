"""Digests that are kept are the same as digests that are made anew."""

from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.catalog import changed
from replicator.catalog import digests as module
from replicator.catalog.digests import DirectoryDigests
from replicator.catalog.store import CatalogStore
from replicator.errors import SourceError
from replicator.model import DIRECTORY, FILE, SYMLINK, Entry, Stamp
from replicator.ports import Record
from tests.support.fakes.catalog import FakeCatalog
from tests.support.fakes.digests import directory_digests

BITS = 0o1777
NAMES = [b"a", b"a\x01"]
paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(b"/".join)
entries = st.sampled_from(
    [
        Entry(FILE, 0o644, 1, 1),
        Entry(FILE, 0o644, 2, 1),
        Entry(DIRECTORY, 0o755, 0, 1),
        Entry(DIRECTORY, 0o755, 0, 1 << 70),
        Entry(SYMLINK, 0, 0, 1, b"a"),
    ]
)
puts = st.dictionaries(paths, st.tuples(entries, st.just(False) | st.booleans()), max_size=8)
actions = st.lists(
    st.tuples(st.just("apply"), puts, st.lists(paths, max_size=2))
    | st.tuples(st.just("move"), paths, paths),
    max_size=5,
)


def records(puts):
    stamp = Stamp(0, 0, 0, 0)
    return [Record(path, entry, stamp, ambiguous=amb) for path, (entry, amb) in puts.items()]


def everything(catalog):
    return [b"", *(record.path for record in catalog.scan(None, None, 1000))]


def made(digests, catalog, *, bits=BITS):
    """Bring digests up to date, and return all of them."""
    number = digests.begin(bits)
    while not digests.refresh(number):
        pass
    return digests.find(everything(catalog), bits)


def anew(catalog):
    return made(DirectoryDigests(catalog.children, catalog.get), catalog)


def do(catalog, action):
    if action[0] == "apply":
        catalog.apply(records(action[1]), action[2], {})
    else:
        catalog.move(*action[1:])


@settings(deadline=None)
@given(puts, st.lists(actions, max_size=4), st.sampled_from([1, 2, 1000]), st.booleans())
def test_what_is_kept_is_what_would_be_made_anew(first, rounds, step, real):
    with TemporaryDirectory() as place, mock.patch.object(module, "STEP", step):
        store = CatalogStore.open(Path(place) / "catalog.sqlite") if real else None
        catalog = store.tree(b"/srv") if store else FakeCatalog()
        catalog.apply(records(first), (), {})
        assert made(catalog.digests, catalog) == anew(catalog)
        for actions in rounds:
            for action in actions:
                do(catalog, action)
            assert made(catalog.digests, catalog) == anew(catalog)
        if store:
            store.close()


@settings(deadline=None)
@given(puts)
def test_both_catalogs_have_the_same_digests(first):
    with TemporaryDirectory() as place:
        store = CatalogStore.open(Path(place) / "catalog.sqlite")
        fake, real = FakeCatalog(), store.tree(b"/srv")
        for catalog in (fake, real):
            catalog.apply(records(first), (), {})
        assert anew(fake) == anew(real)
        for directory in everything(fake):
            children = fake.children(directory, None, 1000)
            assert real.children(directory, None, 1000) == children
            paged, after = [], None
            while page := real.children(directory, after, 1):
                paged += page
                after = page[-1]
            assert paged == children
        store.close()


@given(st.dictionaries(paths, entries, max_size=20))
def test_they_are_the_digests_of_the_wire(tree):
    directories = {path for path, entry in tree.items() if entry.kind == DIRECTORY} | {b""}
    tree = {path: e for path, e in tree.items() if path.rpartition(b"/")[0] in directories}
    while any(path.rpartition(b"/")[0] not in {b"", *tree} for path in tree):
        tree = {p: e for p, e in tree.items() if p.rpartition(b"/")[0] in {b"", *tree}}
    catalog = FakeCatalog()
    catalog.apply(records({path: (entry, False) for path, entry in tree.items()}), (), {})
    assert anew(catalog) == directory_digests(tree, BITS)


def site(count=3):
    catalog = FakeCatalog()
    directory = Entry(DIRECTORY, 0o755, 0, 1)
    tree = {b"%d" % n: (directory, False) for n in range(count)}
    tree |= {b"%d/f" % n: (Entry(FILE, 0o644, 1, 1), False) for n in range(count)}
    catalog.apply(records(tree), (), {})
    return catalog


def reads(catalog):
    """Note what is read from now on."""
    noted = []
    children = catalog.children
    catalog.digests._read = lambda *args: noted.append(args[0]) or children(*args)
    return noted


def test_only_what_has_changed_is_read_again():
    catalog = site()
    made(catalog.digests, catalog)
    noted = reads(catalog)
    made(catalog.digests, catalog)
    assert noted == []
    catalog.apply(records({b"1/f": (Entry(FILE, 0o644, 9, 1), False)}), (), {})
    catalog.apply(records({b"2": (Entry(DIRECTORY, 0o700, 0, 5), False)}), (), {})
    made(catalog.digests, catalog)
    assert noted == [b"1"]


def test_a_directory_that_is_renamed_onto_another_is_read_again():
    catalog = site(2)
    catalog.apply(records({b"0/f": (Entry(FILE, 0o644, 9, 1), False)}), (), {})
    made(catalog.digests, catalog)
    catalog.move(b"0", b"1")
    assert made(catalog.digests, catalog) == anew(catalog)


def test_after_too_many_changes_everything_is_read_again(monkeypatch):
    monkeypatch.setattr(changed, "MOST", 2)
    catalog = site(5)
    made(catalog.digests, catalog)
    for n in range(5):
        catalog.apply(records({b"%d/f" % n: (Entry(FILE, 0o644, 9, 1), False)}), (), {})
    noted = reads(catalog)
    assert made(catalog.digests, catalog) == anew(catalog)
    assert len(noted) == 6


def test_a_tree_with_too_many_directories_has_no_digests(monkeypatch):
    monkeypatch.setattr(module, "MOST_NODES", 3)
    catalog = site(3)
    assert made(catalog.digests, catalog) == {}
    assert not catalog.digests.is_made(BITS)


def test_other_mode_bits_need_other_digests():
    catalog = site()
    first = made(catalog.digests, catalog)
    assert made(catalog.digests, catalog, bits=0o077) != first
    assert catalog.digests.find([b""], BITS) == {}
    assert made(catalog.digests, catalog) == first


def test_a_round_that_fails_is_made_again():
    catalog = site()
    made(catalog.digests, catalog)
    catalog.apply(records({b"1/f": (Entry(FILE, 0o644, 9, 1), False)}), (), {})
    number = catalog.digests.begin(BITS)
    catalog.failure = "gone"
    with pytest.raises(SourceError):
        catalog.digests.refresh(number)
    catalog.failure = ""
    assert made(catalog.digests, catalog) == anew(catalog)


def test_a_comparison_waits_for_a_round_that_begins_after_it(monkeypatch):
    monkeypatch.setattr(module, "STEP", 1)
    catalog = site()
    one = catalog.digests.begin(BITS)
    assert not catalog.digests.refresh(one)
    catalog.apply(records({b"0/f": (Entry(FILE, 0o644, 9, 1), False)}), (), {})
    another = catalog.digests.begin(BITS)
    assert another > one
    while not catalog.digests.refresh(one):
        pass
    assert not catalog.digests.refresh(another)
    while not catalog.digests.refresh(another):
        pass
    assert catalog.digests.find(everything(catalog), BITS) == anew(catalog)
