"""What the catalog holds of trees that are no longer configured is forgotten after a while, and not before."""

import asyncio

import pytest

from replicator.app.retired import Retired
from replicator.catalog.store import CatalogStore
from replicator.model import FILE, Entry, Stamp
from replicator.ports import Record
from tests.support.clock import virtual_time
from tests.support.waiting import eventually


@pytest.fixture
def store(tmp_path):
    opened = CatalogStore.open(tmp_path / "catalog.sqlite")
    for source in (b"/a", b"/b"):
        entry = Entry(FILE, 0o644, 1, 10, b"", b"\1" * 32)
        stamp = Stamp(1, 10, 11, 12)
        opened.tree(source).apply([Record(b"f%d" % n, entry, stamp) for n in range(300)], [], {})
    yield opened
    opened.close()


async def test_a_tree_that_is_no_longer_configured_is_forgotten_and_the_other_stays(store):
    task = asyncio.create_task(Retired(store, lambda: [b"/a"], after=0.01).run())
    try:
        await eventually(lambda: store.tree(b"/b").counts()[0] == 100, "the tree to be forgotten")
        await eventually(lambda: not store.clean(), "its rows to be deleted")
        assert store.tree(b"/a").counts()[0] == 300
        assert not task.done()
    finally:
        task.cancel()


async def test_a_tree_that_was_configured_again_waits_for_the_whole_time_again(store):
    virtual_time()
    retired = Retired(store, lambda: [b"/a"], after=3600)
    retired.check(store.recorded())
    await asyncio.sleep(3599)
    retired.configured([b"/a", b"/b"])
    retired.check(store.recorded())
    await asyncio.sleep(3590)
    retired.check(store.recorded())
    assert store.tree(b"/b").counts()[0] == 300
    await asyncio.sleep(10)
    retired.check(store.recorded())
    assert store.tree(b"/b").counts()[0] == 100
