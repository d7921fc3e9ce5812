"""The base is kept fresh in the background; a failing store disturbs nothing, and is shown."""

import asyncio
import os
import threading
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from replicator.base import publisher as module
from replicator.base.layout import MANIFESTS, PACKS
from replicator.base.publisher import Publisher
from replicator.errors import ReplicatorError, StoreError
from tests.support import published
from tests.support.fakes.store import FakeStore
from tests.support.waiting import eventually


async def until(condition):
    await eventually(condition, "what the publisher should do")


class Site:
    """A tree, a store and a publisher over them."""

    def __init__(self, directory):
        self.directory = directory / "source"
        self.directory.mkdir()
        self.state = directory / "state"
        self.state.mkdir()
        self.store = FakeStore()
        self.tree = published.PublishedTree(self.directory)
        self.trees = [self.tree]
        self.publishers = []

    @property
    def publisher(self):
        return self.publishers[-1]

    def start(self, *, interval=0.01, bandwidth=1e12, identity="me"):
        self.publishers.append(
            Publisher(
                self.store, identity, self.state, lambda: self.trees,
                bandwidth=bandwidth, interval=interval, give_up=3600.0,
            )
        )  # fmt: skip
        return self.publisher

    def write(self, **files):
        published.write(self.directory, files)
        self.tree.scan()

    def restored(self):
        (pointer,) = published.pointers(self.store)
        return published.restored(self.store, pointer.manifest)

    def has(self, *names):
        return bool(published.pointers(self.store)) and set(self.restored()) == set(names)


@pytest.fixture
async def site(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "POLL", 0.005)
    one = Site(tmp_path)
    yield one
    for publisher in one.publishers:
        publisher.close()
    one.tree.close()


@pytest.fixture
async def running(site):
    """Runs the publisher in the background."""
    site.write(a=b"one")
    task = asyncio.get_running_loop().create_task(site.start().run())
    yield site
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_tree_is_published_and_again_when_it_has_changed(running):
    await until(lambda: running.has(b"a"))
    await (
        running.publisher.publish()
    )  # after the one in the background, which offers what it has published
    assert await running.publisher.offers.offer(running.tree.root)
    running.write(b=b"two")
    await until(lambda: running.has(b"a", b"b"))


async def test_without_changes_there_are_no_requests(running):
    await until(lambda: running.has(b"a"))
    await until(lambda: running.publisher.describe()["trees"][0]["manifest"])
    requests = running.store.requests
    schedule = running.publisher._schedules[running.tree.root]
    for _ in range(3):
        due = schedule.due
        await until(lambda due=due: schedule.due > due)
    assert running.store.requests == requests


async def test_a_tree_in_doubt_is_not_published(site):
    site.write(a=b"one")
    site.tree.comparable = False
    (row,) = await site.start().publish()
    assert row["waits"] == "its source is not scanned yet, or in doubt"
    assert not site.store.objects


async def test_a_failing_store_is_shown_and_logged_once_and_tried_again(running, monkeypatch):
    monkeypatch.setattr(module.Backoff, "delay", lambda *_: 0.01)
    await until(lambda: running.has(b"a"))
    with capture_logs() as logs:
        running.store.failure = "s3://bucket: it cannot be reached"
        running.write(b=b"two")
        await until(lambda: running.publisher.describe()["failures"] >= 3)
        assert running.publisher.describe()["error"] == "s3://bucket: it cannot be reached"
        running.store.failure = ""
        await until(lambda: running.has(b"a", b"b"))
        await until(lambda: not running.publisher.describe()["error"])
    events = [line["event"] for line in logs]
    assert events[events.index("base not published") :] == [
        "base not published",
        "base is published again",
        "base published",
    ]


async def test_garbage_that_cannot_be_removed_is_shown_as_that_and_keeps_no_tree_from_being_published(
    running, monkeypatch
):
    monkeypatch.setattr(module, "PRUNE_AGAIN", 0.01)
    await until(lambda: running.has(b"a"))

    def deny(step):
        if step == ("list", MANIFESTS):
            raise StoreError("the permission s3:ListBucket is missing")

    with capture_logs() as logs:
        running.store.before = deny
        with pytest.raises(StoreError, match="ListBucket"):
            await running.publisher.prune()
        said = running.publisher.describe()
        assert (said["error"], said["failures"]) == ("", 0)
        assert said["prune_error"] == "the permission s3:ListBucket is missing"
        lists = running.store.requests
        await until(lambda: running.store.requests > lists + 3)
        running.write(b=b"two")
        await until(lambda: running.has(b"a", b"b"))
        running.store.before = lambda _: None
        await until(lambda: not running.publisher.describe()["prune_error"])
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == [
        "garbage of the base not removed"
    ]


async def test_a_base_is_up_to_date_as_of_the_begin_of_the_last_publication_that_succeeded(running):
    def current_at():
        return running.publisher.describe()["trees"][0]["current_at"]

    await until(lambda: current_at() is not None)
    first = current_at()
    await until(lambda: current_at() > first)  # nothing has changed, and that is known
    running.store.failure = "unreachable"
    running.write(b=b"two")
    await until(lambda: running.publisher.describe()["error"])
    failed = current_at()
    with pytest.raises(StoreError):
        await running.publisher.publish()
    assert current_at() == failed


async def test_a_failure_is_told_to_who_asks_for_a_publication(site):
    site.write(a=b"one")
    site.start()
    site.store.failure = "unreachable"
    with pytest.raises(StoreError, match="unreachable"):
        await site.publisher.publish()


async def test_a_publication_on_request_says_what_it_cost(site):
    site.write(a=bytes(1000), b=b"x")
    (row,) = await site.start().publish()
    assert (row["changed"], row["entries"], row["bytes"], row["packs"]) == (True, 2, 1001, 1)
    assert row["requests"] == site.store.requests
    (row,) = await site.publisher.publish()
    assert not row["changed"]


async def test_another_backend_is_refused_until_it_takes_over_and_then_the_first_one_stops(site):
    site.write(a=b"one")
    first = site.start()
    await first.publish()
    second = Publisher(
        site.store, "other", site.state / "..", lambda: site.trees,
        bandwidth=1e12, interval=1.0, give_up=3600.0,
    )  # fmt: skip
    with pytest.raises(StoreError, match="--take-over"):
        await second.publish()
    assert await first.offers.offer(site.tree.root)
    await second.publish(take_over=True)
    site.write(b=b"two")
    with pytest.raises(StoreError, match="another backend has begun"):
        await first.publish()
    assert await first.offers.offer(site.tree.root) is None, "the other one may remove it"
    await second.publish()
    assert site.has(b"a", b"b")
    await first.publish(take_over=True)
    site.write(c=b"three")
    await first.publish()
    assert site.has(b"a", b"b", b"c")
    second.close()


async def test_a_claim_that_is_found_lost_when_garbage_is_removed_ends_the_offers(site):
    site.write(a=b"one")
    first = site.start()
    await first.publish()
    second = site.start(identity="other")
    await second.publish(take_over=True)
    assert await first.offers.offer(site.tree.root)
    with pytest.raises(StoreError, match="another backend has begun"):
        await first.prune()
    assert await first.offers.offer(site.tree.root) is None


async def test_missing_packs_are_found_when_garbage_is_removed_and_are_uploaded_again(site):
    site.write(a=os.urandom(1000))
    site.start()
    await site.publisher.publish()
    (name,) = [one.name for one in site.store.list(PACKS)]
    del site.store.objects[name]
    await site.publisher.prune()
    assert await site.publisher.offers.offer(site.tree.root) is None
    await site.publisher.publish()
    assert site.has(b"a")
    assert await site.publisher.offers.offer(site.tree.root)


async def test_what_was_offered_is_not_removed(site):
    site.write(a=os.urandom(1000))
    site.start()
    await site.publisher.publish()
    offer = await site.publisher.offers.offer(site.tree.root)
    site.write(a=os.urandom(1000))
    await site.publisher.publish()
    for name in site.store.modified:
        site.store.modified[name] -= 1e6
    site.publisher._prefix.now = lambda: 1e6 + site.store.clock()
    await site.publisher.prune()
    assert published.restored(site.store, offer.manifest)


async def test_a_removed_tree_is_not_offered_any_more(running):
    await until(lambda: running.has(b"a"))
    running.trees.clear()
    await until(lambda: running.publisher.offers.newest(running.tree.root) is None)


async def test_a_tree_that_was_replaced_by_a_reload_is_not_offered_as_it_was(site):
    """It may exclude what the base holds, and a comparison leaves excluded paths alone."""
    site.write(a=b"one", secret=b"excluded from now on")
    site.start()
    await site.publisher.publish()
    assert await site.publisher.offers.offer(site.tree.root)
    reloaded = published.PublishedTree(site.directory)
    site.trees[:] = [reloaded]
    assert await site.publisher.offers.offer(site.tree.root) is None
    (site.directory / "secret").unlink()
    reloaded.scan()
    await site.publisher.publish()
    offer = await site.publisher.offers.offer(site.tree.root)
    assert set(published.restored(site.store, offer.manifest)) == {b"a"}
    reloaded.close()


async def test_what_an_earlier_process_has_published_is_offered_only_once_it_was_published_again(
    site,
):
    """The excludes may have changed at the restart, and this publication fails after it has read the old manifest."""
    site.write(a=b"one", secret=b"excluded from now on")
    await site.start().publish()
    site.publisher.close()
    site.write(b=b"two")

    def fail(step):
        if step[0] == "put" and step[1].startswith(("packs/", "manifests/")):
            raise StoreError("the bucket is full")

    site.store.before = fail
    again = site.start()
    with pytest.raises(StoreError, match="full"):
        await again.publish()
    assert await again.offers.offer(site.tree.root) is None
    await again.prune()
    assert await again.offers.offer(site.tree.root) is None
    site.store.before = lambda _: None
    await again.publish()
    assert await again.offers.offer(site.tree.root)


async def test_a_base_that_was_offered_still_is_while_the_store_fails(site):
    site.write(a=b"one")
    await site.start().publish()
    site.write(b=b"two")
    site.store.failure = "unreachable"
    with pytest.raises(StoreError, match="unreachable"):
        await site.publisher.publish()
    site.store.failure = ""
    assert await site.publisher.offers.offer(site.tree.root)


async def test_a_base_is_not_offered_while_deletions_are_paused(site):
    """The comparison would leave what was deleted before on the frontend."""
    site.write(a=b"one")
    await site.start().publish()
    site.tree.deletes = False
    assert await site.publisher.offers.offer(site.tree.root) is None
    site.tree.deletes = True
    assert await site.publisher.offers.offer(site.tree.root)


async def test_a_tree_whose_deletions_are_never_sent_has_no_base(running):
    await until(lambda: running.has(b"a"))
    running.tree.delete = False
    running.write(b=b"two")
    (row,) = await running.publisher.publish()
    assert "tree.delete is off" in row["skipped"]
    (row,) = running.publisher.describe()["trees"]
    assert "tree.delete is off" in row["skipped"]
    requests = running.store.requests
    await until(lambda: running.publisher._schedules[running.tree.root].has_news)
    for _ in range(5):
        await asyncio.sleep(module.POLL)
    assert running.store.requests == requests


async def test_an_upload_is_as_fast_as_the_bandwidth_allows(site, monkeypatch):
    waited = []
    site.write(a=os.urandom(1_000_000))
    site.start(bandwidth=100_000)
    monkeypatch.setattr(site.publisher._worker, "_wait", waited.append)
    standing = SimpleNamespace(monotonic=lambda: 0.0)  # the upload itself takes no time
    monkeypatch.setattr("replicator.base.work.time", standing)
    await site.publisher.publish()
    assert max(waited) == pytest.approx(10, abs=0.5)


async def test_closing_ends_an_upload_that_waits_for_bandwidth(site):
    site.write(a=os.urandom(1_000_000))
    site.start(bandwidth=1000.0)
    request = asyncio.ensure_future(site.publisher.publish())
    await until(lambda: ("put", "packs") in [(w, n[:5]) for w, n in site.store.log])
    site.publisher.close()
    with pytest.raises((ReplicatorError, asyncio.CancelledError)):
        await request
    assert not [t for t in threading.enumerate() if t.name == "base"]


async def test_stopping_does_not_wait_for_a_request_that_hangs(site):
    """A reload stops the publisher on the event loop, which must not wait for the store."""
    site.write(a=os.urandom(1000))
    site.start()
    going, go = threading.Event(), threading.Event()

    def hang(step):
        if step[1].startswith("packs/") and step[0] == "put":
            going.set()
            go.wait(60)

    site.store.before = hang
    request = asyncio.ensure_future(site.publisher.publish())
    await until(going.is_set)
    site.publisher.stop()
    assert not go.is_set()
    assert [t for t in threading.enumerate() if t.name == "base"], "the request still hangs"
    with pytest.raises(ReplicatorError, match="another configuration"):
        await request
    assert await site.publisher.offers.offer(site.tree.root) is None
    go.set()
    site.publisher.close()
    assert not [t for t in threading.enumerate() if t.name == "base"]
    assert published.pointers(site.store) == [], "a publisher that was stopped writes no pointer"


async def test_a_request_that_is_cancelled_does_not_let_work_overlap(site):
    site.write(a=os.urandom(1000))
    site.start()
    going, go = threading.Event(), threading.Event()

    def hold(step):
        if step[1].startswith("packs/") and step[0] == "put":
            going.set()
            go.wait(30)

    site.store.before = hold
    request = asyncio.ensure_future(site.publisher.publish())
    await until(going.is_set)
    request.cancel()
    prune = asyncio.ensure_future(site.publisher.prune())
    await asyncio.sleep(0)
    assert ("list", "trees/") not in site.store.log
    go.set()
    await prune
    assert site.has(b"a")


async def test_pruning_on_request_forgets_trees_that_are_not_configured(site):
    site.write(a=b"one")
    site.start()
    await site.publisher.publish()
    await site.publisher.prune()
    assert site.has(b"a")
    site.trees.clear()
    await site.publisher.prune()
    assert published.pointers(site.store) == []


async def test_a_tree_that_fails_delays_no_other_and_is_shown_until_it_works(
    running, tmp_path, monkeypatch
):
    monkeypatch.setattr(module.Backoff, "delay", lambda *_: 0.01)
    await until(lambda: running.has(b"a"))
    running.tree.catalog.failure = "the catalog cannot be used"
    running.write(z=b"not published")
    other = tmp_path / "other"
    other.mkdir()
    tree = published.PublishedTree(other)
    published.write(other, {"b": b"two"})
    running.trees.append(tree.scan())
    newest = running.publisher.offers.newest
    await until(lambda: newest(tree.root))
    await until(lambda: running.publisher.describe()["error"] == "the catalog cannot be used")
    published.write(other, {"c": b"three"})
    tree.scan()
    await until(lambda: newest(tree.root).rows == 2)
    assert running.publisher.describe()["error"] == "the catalog cannot be used"
    running.tree.catalog.failure = ""
    await until(lambda: not running.publisher.describe()["error"])
    tree.close()
