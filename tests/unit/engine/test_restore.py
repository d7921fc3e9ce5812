"""Which frontends are restored from a base, and what becomes of it."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from replicator.core.lifecycle import State
from replicator.engine.frontend import restore as module
from replicator.engine.frontend.replica import Replica
from replicator.engine.frontend.restore import ATTEMPTS, MOST_HELD, Restorer
from replicator.errors import StoreError
from replicator.ports import Offer
from replicator.wire.messages import NeedUrls, Restore, Restored, Urls
from replicator.wire.restoring import DECLINED
from tests.support.ends import receiving
from tests.support.frontends import Backdrop, candidate
from tests.support.waiting import eventually

OFFER = Offer(bytes(32), 100, "http://store/manifest", 1000, 5_000_000)


class FakeBase:
    """A base that offers the same for each tree; `failing` makes it fail."""

    def __init__(self, offer=OFFER):
        self.offered = offer
        self.asked = []
        self.failing = False

    async def offer(self, tree):
        self.asked.append(tree)
        return self.offered

    async def urls(self, tree, manifest, packs):
        if self.failing:
            raise StoreError("gone")
        return [f"http://store/{pack}" for pack in packs]


@pytest.fixture
def site(ends):
    """Return a Backdrop with a base; its connection's agent has the feature."""
    ends.connection.agent = ends.connection.agent._replace(features=frozenset(("restore",)))
    with ThreadPoolExecutor(1) as pool:
        backdrop = Backdrop(pool)
        backdrop.context.base = FakeBase()
        yield backdrop


def restorer_of(site, ends):
    replica = Replica(candidate("web1"), site.context)
    replica.move_to(State.QUEUED)
    return replica, Restorer(ends.connection, site.context, replica)


async def restored(site, ends, *said):
    """Restore with an agent that says this; return the replica."""
    replica, restorer = restorer_of(site, ends)
    async with receiving(ends):
        task = asyncio.ensure_future(restorer.restore([1]))
        await eventually(lambda: ends.channel.of(Restore) or task.done(), lambda: "the request")
        if not task.done():
            ends.channel.send(*said)
        await task
    return replica


async def test_a_new_frontend_is_restored(site, ends):
    end = Restored(1, 990, 4_000_000, 0, 10, "digest_mismatch", end=True)
    replica = await restored(site, ends, NeedUrls(1, (0,)), end)
    (request,) = ends.channel.of(Restore)
    assert request == Restore(1, OFFER.manifest, 100, OFFER.url, 500)
    assert ends.channel.of(Urls) == [Urls(1, ((0, "http://store/0"),))]
    result = replica.restored[1]
    assert (result.files, result.content, result.failed) == (990, 4_000_000, 10)
    assert result.error == "digest_mismatch"
    assert (replica.progress.files_total, replica.progress.files_done) == (1000, 990)


async def test_a_target_with_many_entries_counts_as_filled(site, ends):
    site.context.base.offered = OFFER._replace(rows=10 * MOST_HELD)
    await restored(site, ends, Restored(1, 0, 0, 0, 0, end=True))
    assert ends.channel.of(Restore)[0].most == MOST_HELD


async def test_a_frontend_that_declines_leaves_no_trace(site, ends):
    replica = await restored(site, ends, Restored(1, 0, 0, 0, 0, DECLINED, end=True))
    assert replica.restored == {}


async def test_a_compared_tree_is_not_restored(site, ends):
    replica, restorer = restorer_of(site, ends)
    replica.pending_paths.counted.add(1)
    await restorer.restore([1])
    assert site.context.base.asked == []


@pytest.mark.parametrize("lacking", ["base", "feature", "offer", "tree"])
async def test_without_base_feature_offer_or_tree_nothing_is_asked(site, ends, lacking):
    _, restorer = restorer_of(site, ends)
    if lacking == "base":
        site.context.base = None
    elif lacking == "feature":
        ends.connection.agent = ends.connection.agent._replace(features=frozenset())
    elif lacking == "offer":
        site.context.base.offered = None
    await restorer.restore([2 if lacking == "tree" else 1])
    assert ends.channel.of(Restore) == []


async def test_a_restore_that_was_cut_is_continued_a_few_times(site, ends):
    replica, restorer = restorer_of(site, ends)
    replica.restores_begun[1] = 1
    async with receiving(ends):
        task = asyncio.ensure_future(restorer.restore([1]))
        await eventually(lambda: ends.channel.of(Restore), lambda: "the request")
        assert ends.channel.of(Restore)[0].most == 2 * OFFER.rows
        ends.channel.send(Restored(1, 0, 0, 0, 0, end=True))
        await task
    replica.restores_begun[1] = ATTEMPTS
    await restorer.restore([1])
    assert len(ends.channel.of(Restore)) == 1


async def test_urls_that_cannot_be_made_are_empty(site, ends):
    site.context.base.failing = True
    await restored(site, ends, NeedUrls(1, (3, 4)), Restored(1, 0, 0, 0, 0, "no URL", end=True))
    assert ends.channel.of(Urls) == [Urls(1, ((3, ""), (4, "")))]


async def test_urls_that_take_too_long_are_empty(site, ends, monkeypatch):
    """The agent goes on reporting meanwhile, and the backend reads no reports before it has answered."""
    monkeypatch.setattr(module, "URLS_WITHIN", 0.01)
    monkeypatch.setattr(site.context.base, "urls", lambda *_: asyncio.sleep(60))
    async with asyncio.timeout(30):
        await restored(site, ends, NeedUrls(1, (3,)), Restored(1, 0, 0, 0, 0, "no URL", end=True))
    assert ends.channel.of(Urls) == [Urls(1, ((3, ""),))]


async def test_a_store_that_does_not_answer_is_tried_for_one_tree_only(site, ends, monkeypatch):
    monkeypatch.setattr(module, "WASTED", 0.0)
    site.context.trees[2] = site.context.trees[1]
    _, restorer = restorer_of(site, ends)
    async with receiving(ends):
        task = asyncio.ensure_future(restorer.restore([1, 2]))
        await eventually(lambda: ends.channel.of(Restore), lambda: "the request")
        ends.channel.send(Restored(1, 0, 0, 0, 0, "the store does not answer", end=True))
        await task
    assert [request.tree for request in ends.channel.of(Restore)] == [1]


async def test_a_base_whose_url_takes_too_long_is_not_waited_for(site, ends, monkeypatch):
    monkeypatch.setattr(module, "OFFER_WITHIN", 0.01)
    monkeypatch.setattr(site.context.base, "offer", lambda _: asyncio.sleep(60))
    _, restorer = restorer_of(site, ends)
    async with asyncio.timeout(30):
        await restorer.restore([1])
    assert ends.channel.of(Restore) == []
