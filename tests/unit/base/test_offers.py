"""URLs are given only for the packs of a base that was offered, and keep it in use."""

import asyncio

import pytest

from replicator.base.layout import manifest_name, pack_name
from replicator.base.offers import MOST_TABLES, URL_LIFE, URL_SHARED, Offers
from replicator.base.published import Published
from replicator.errors import StoreError
from replicator.ports import MANIFEST
from tests.support.clock import virtual_time
from tests.support.fakes.store import FakeStore

TREE = b"/site"
PACKS = [bytes([n]) * 32 for n in range(3)]
KEEP = 5000.0


def published(manifest=b"m" * 32):
    return Published(manifest, 100, 1000.0, b"".join(PACKS), 7, 5000, 6000, 0)


@pytest.fixture
def store():
    return FakeStore()


@pytest.fixture
def offers(store):
    one = Offers(store, KEEP)
    one.set_newest(TREE, published())
    yield one
    one.close()


@pytest.fixture(autouse=True)
async def clock():
    virtual_time()


async def test_a_tree_without_a_base_is_not_offered(offers):
    assert await offers.offer(b"/other") is None


async def test_an_offer_names_the_manifest_and_where_it_is(offers):
    offer = await offers.offer(TREE)
    assert offer[:2] == (b"m" * 32, 100)
    assert offer.url == f"fake://{manifest_name(b'm' * 32)}?seconds={URL_LIFE}"
    assert (offer.rows, offer.content) == (7, 5000)


async def test_each_pack_of_an_offered_base_has_a_url(offers):
    offer = await offers.offer(TREE)
    urls = await offers.urls(TREE, offer.manifest, [2, 0, MANIFEST])
    names = [pack_name(PACKS[2]), pack_name(PACKS[0]), manifest_name(offer.manifest)]
    assert urls == [f"fake://{name}?seconds={URL_LIFE}" for name in names]


@pytest.mark.parametrize("pack", [3, -2, 1 << 40])
async def test_other_packs_have_none(offers, pack):
    offer = await offers.offer(TREE)
    with pytest.raises(StoreError, match="no such pack"):
        await offers.urls(TREE, offer.manifest, [0, pack])


async def test_what_was_not_offered_for_a_tree_has_no_urls(offers):
    with pytest.raises(StoreError, match="not offered"):
        await offers.urls(TREE, b"m" * 32, [0])
    await offers.offer(TREE)
    with pytest.raises(StoreError, match="not offered"):
        await offers.urls(b"/other", b"m" * 32, [0])


async def test_a_replaced_base_stays_in_use_as_long_as_it_may_be_restored(offers):
    loop = asyncio.get_running_loop()
    await offers.offer(TREE)
    offers.set_newest(TREE, published(b"n" * 32))
    await asyncio.sleep(KEEP - 1)
    assert b"m" * 32 in offers.in_use(loop.time())
    await offers.urls(TREE, b"m" * 32, [1])
    await asyncio.sleep(KEEP - 1)
    assert b"m" * 32 in offers.in_use(loop.time())
    await asyncio.sleep(2)
    assert offers.in_use(loop.time()) == {b"n" * 32}
    with pytest.raises(StoreError, match="not offered"):
        await offers.urls(TREE, b"m" * 32, [1])


async def test_frontends_share_a_url_while_it_is_valid_for_long_enough(offers, store):
    made = []
    make = store.url
    store.url = lambda name, seconds: made.append(name) or make(name, seconds)
    for _ in range(10):
        await offers.offer(TREE)
    assert len(made) == 1
    await asyncio.sleep(URL_SHARED + 1)
    await offers.offer(TREE)
    assert len(made) == 2


async def test_a_store_that_makes_no_urls_offers_nothing(offers, store):
    store.failure = "no credentials"
    assert await offers.offer(TREE) is None


async def test_after_the_end_nothing_is_offered_and_no_url_is_made(offers):
    """A frontend may have begun to restore when a reload has replaced the publisher."""
    offer = await offers.offer(TREE)
    await asyncio.sleep(URL_SHARED + 1)
    offers.close()
    assert await offers.offer(TREE) is None
    with pytest.raises(StoreError, match="not offered any more"):
        await offers.urls(TREE, offer.manifest, [0])


async def test_tables_of_replaced_bases_do_not_pile_up_while_no_garbage_is_removed(offers):
    offer = await offers.offer(TREE)
    for n in range(3 * MOST_TABLES):
        offers.set_newest(TREE, published(n.to_bytes(32, "big")))
    assert len(offers.tables) <= MOST_TABLES + 1
    assert len(await offers.urls(TREE, offer.manifest, [0])) == 1, "it is in use"


async def test_urls_are_not_logged(offers, capfd):
    offer = await offers.offer(TREE)
    await offers.urls(TREE, offer.manifest, [0, 1, 2])
    assert "fake://" not in "".join(capfd.readouterr())
