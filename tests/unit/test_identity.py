"""When a source's root is taken for the one that the catalog describes."""

import sqlite3

import pytest

from replicator.catalog.store import CatalogStore
from replicator.ports import Identity

KNOWN = Identity(device=1, inode=2, filesystem=3)


@pytest.mark.parametrize(
    ("now", "differs"),
    [
        (Identity(1, 2, 3), False),
        (Identity(9, 2, 3), False),  # the device number is another one after a reboot
        (Identity(1, 2, 9), True),  # another disk has the number of the one before
        (Identity(1, 2, 0), False),
        (Identity(9, 2, 9), True),
        (Identity(9, 2, 0), True),
        (Identity(1, 9, 3), True),
        (Identity(9, 9, 3), True),
    ],
)
def test_a_root_is_the_same_if_its_inode_and_its_file_system_are(now, differs):
    assert now.differs_from(KNOWN) is differs


def test_file_systems_without_an_id_are_not_taken_for_the_same():
    assert Identity(9, 2, 0).differs_from(Identity(1, 2, 0))


def test_a_root_that_nothing_is_known_of_is_no_other():
    assert not KNOWN.differs_from(None)


def test_the_catalog_of_a_release_that_knew_no_file_system_is_read(tmp_path):
    path = tmp_path / "catalog.sqlite"
    store = CatalogStore(path, lambda *_: None)
    store.tree(b"/source").set_root_identity(KNOWN)
    store.close()
    with sqlite3.connect(path) as db:
        assert db.execute("DELETE FROM meta WHERE name LIKE 'filesystem %'").rowcount == 1
    db.close()
    store = CatalogStore(path, lambda *_: None)
    assert store.tree(b"/source").root_identity() == Identity(1, 2, 0)
    store.close()
