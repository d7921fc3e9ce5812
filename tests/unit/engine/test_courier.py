"""The courier: nothing stale is sent, nothing refused is forgotten, and live changes wait for nobody."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest

from replicator.core.dirty import DirtySet, Key, Owed
from replicator.core.pace import Backoff
from replicator.delta.ops import Copy, Literal
from replicator.engine import courier as module
from replicator.engine.courier import KEPT_AFTER, Courier
from replicator.engine.examine import Examiner
from replicator.engine.link import Link
from replicator.engine.parcel import (
    CHUNK,
    batches,
    change_for,
    file_parcel,
    gone,
    moved,
    next_number,
    put_file,
    single,
)
from replicator.engine.supply import Shelf, Supply
from replicator.model import ROOT
from replicator.wire.changes import Delete, Move, PutFile
from replicator.wire.messages import Acks, Batch, BeginFile, Data
from tests.support.fakes import FakeCatalog, FakeChannel, FakeSource
from tests.support.waiting import eventually

NEVER = 3600.0
"""A delay that no test outlives."""


def at(path):
    return Key(1, path)


class Listener:
    """Remembers what it was told."""

    def __init__(self):
        self.clean = []
        self.troubles = []
        self.doubts = []
        self.frames = 0

    def done(self, key):
        self.clean.append(key.path)

    def troubled(self, key, reason):
        self.troubles.append((key.path, reason))

    def in_doubt(self, directory):
        self.doubts.append(directory.path)

    async def throttle(self, size):
        self.frames += 1


class Route:
    """A courier between a source in memory and a frontend that is the test."""

    def __init__(self, pool):
        self.source, self.catalog, self.dirty = FakeSource(), FakeCatalog(), DirtySet()
        self.looked_again = []
        shelf = Shelf(self.source, self.catalog, lambda: True, self.looked_again.append)
        self.supply = Supply({1: shelf})
        self.pool = pool
        self.listener = Listener()
        self.retry(NEVER)
        self.channel = FakeChannel()
        self.link = Link(self.channel, self._answered, self._moved)

    def retry(self, seconds):
        """Have a courier that tries again after exactly so many seconds at first."""
        backoff = Backoff(seconds, NEVER, lambda: 1.0)
        self.courier = Courier(self.dirty, self.supply, self.pool, backoff, self.listener)

    def _answered(self, *answer):
        self.courier.answered(*answer)

    def _moved(self):
        self.courier.wake()

    @asynccontextmanager
    async def open(self):
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(self.courier.run(self.link))]
        tasks.append(loop.create_task(self.link.receive()))
        try:
            yield tasks[0]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def write(self, path, content):
        self.source.write(path, content)
        self.survey()

    def survey(self):
        for _ in Examiner(self.source, self.catalog).survey(ROOT):
            pass
        self.source.reads.clear()

    def mark(self, *paths, urgent=False, owed=Owed.CONTENT):
        for path in paths:
            self.dirty.mark(at(path), owed, asyncio.get_running_loop().time(), urgent=urgent)
        self.courier.wake()

    def fill_window(self):
        """Take all room for bulk; `make_room` gives it back."""
        self.link.bytes_sent += self.link.window.size
        self.link._sent_at.append((self.link.bytes_sent, asyncio.get_running_loop().time()))

    def make_room(self):
        self.channel.say(Acks((), (), self.link.bytes_sent))

    def accept(self, *numbers):
        self.channel.say(Acks(numbers, (), self.link.bytes_sent))

    def refuse(self, number, reason, detail=""):
        self.channel.say(Acks((), ((number, reason, detail),), self.link.bytes_sent))

    def sent(self, path=None):
        """All changes that the frontend has heard of, in order."""
        found = []
        for message in self.channel.heard:
            found += message.changes if isinstance(message, Batch) else []
            found += [message.put] if isinstance(message, BeginFile) else []
        return [change for change in found if path is None or change.path == path]

    def contents(self):
        return [bytes(payload) for payload in self.channel.payloads if payload]

    async def times_sent(self, path, times):
        """Wait until a path was sent so often; return the last change."""
        await eventually(
            lambda: len(self.sent(path)) >= times,
            lambda: f"{path} to be sent {times} times: {self.channel.heard}",
        )
        assert len(self.sent(path)) == times
        return self.sent(path)[-1]

    async def prepared(self, frames):
        """Wait until so many frames were prepared since the beginning."""
        await eventually(lambda: self.listener.frames >= frames, "prepared frames")

    def whole(self, path):
        """A live parcel that carries a file as it is now."""
        entry = self.catalog.records[path].entry
        content = self.source.nodes[path].content
        (parcel,) = batches([(change_for(1, path, entry), content)])
        return parcel

    def delta(self, path, keep):
        """A live parcel that builds on the `keep` first bytes of the version before."""
        put = put_file(next_number(), 1, path, self.catalog.records[path].entry)
        tail = self.source.nodes[path].content[keep:]
        return file_parcel(put, [Copy(0, keep), Literal(tail)], delta=True)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(1) as made:
        yield made


@pytest.fixture
async def route(pool):
    return Route(pool)


async def test_what_was_read_under_an_older_generation_is_not_sent(route):
    route.write(b"f", b"old")
    async with route.open():
        route.fill_window()
        route.mark(b"f")
        await route.prepared(1)
        route.write(b"f", b"new")
        route.mark(b"f")
        route.make_room()
        await route.times_sent(b"f", 1)

    assert route.contents() == [b"new"]


@pytest.mark.parametrize("reason", ["", "denied"])
async def test_an_answer_to_an_older_version_means_nothing(route, reason):
    route.write(b"f", b"old")
    async with route.open():
        route.mark(b"f")
        old = await route.times_sent(b"f", 1)
        route.write(b"f", b"new")
        route.mark(b"f")
        new = await route.times_sent(b"f", 2)
        route.refuse(old.number, reason) if reason else route.accept(old.number)
        await eventually(lambda: not route.link.is_under_way(old.number), "the first answer")
        assert at(b"f") in route.dirty
        assert route.listener.clean == route.listener.troubles == []
        route.accept(new.number)
        await eventually(lambda: route.listener.clean == [b"f"], "the second answer")

    assert not route.dirty


async def test_live_parcels_wait_neither_for_room_nor_for_prepared_bulk(route):
    for path in (b"first", b"bulk", b"live", b"later bulk", b"later live"):
        route.write(path, path)
    async with route.open():
        route.channel.open.clear()
        route.mark(b"first")
        await route.times_sent(b"first", 1)
        route.mark(b"bulk")
        await route.prepared(2)
        route.courier.post(route.whole(b"live"), builds=False)
        route.channel.open.set()
        await route.times_sent(b"bulk", 1)
        assert [change.path for change in route.sent()] == [b"first", b"live", b"bulk"]

        route.fill_window()
        route.mark(b"later bulk")
        await route.prepared(3)
        route.courier.post(route.whole(b"later live"), builds=False)
        await route.times_sent(b"later live", 1)
        assert route.sent(b"later bulk") == []


async def test_a_delta_goes_only_to_who_holds_the_version_before(route):
    route.write(b"f", b"version 1, version 2")
    async with route.open():
        assert not route.courier.post(route.delta(b"f", 9), builds=False)
        whole = await route.times_sent(b"f", 1)
        assert route.channel.of(BeginFile) == []

        # The version before is on its way: a delta may follow it.
        assert route.courier.post(route.delta(b"f", 9), builds=True)
        delta = await route.times_sent(b"f", 2)
        assert route.channel.of(BeginFile)[0].delta
        route.accept(whole.number, delta.number)
        await eventually(lambda: not route.dirty, "the answers")

        route.fill_window()
        route.mark(b"f")
        route.dirty.lost()  # it waits again
        assert not route.courier.post(route.delta(b"f", 9), builds=True)


async def test_a_refused_path_is_tried_again_after_its_delay_and_its_reason_is_told(route):
    route.retry(0.15)
    route.write(b"f", b"content")
    async with route.open():
        route.mark(b"f")
        first = await route.times_sent(b"f", 1)
        route.refuse(first.number, "denied", "EACCES: f")
        await eventually(lambda: route.listener.troubles, "the trouble")
        told = asyncio.get_running_loop().time()
        assert route.listener.troubles == [(b"f", "EACCES: f")]
        assert route.dirty.problems(9) == [(at(b"f"), "denied: EACCES: f")]

        second = await route.times_sent(b"f", 2)
        assert asyncio.get_running_loop().time() - told > 0.12
        route.refuse(second.number, "denied")
        await eventually(lambda: len(route.listener.troubles) == 2, "the second trouble")
        assert route.listener.troubles[1] == (b"f", "denied")
        assert route.dirty.next_retry() - asyncio.get_running_loop().time() > 0.2  # it doubles


async def test_a_base_mismatch_leads_to_the_whole_file_at_once(route):
    route.write(b"f", b"version 1, version 2")
    async with route.open():
        assert route.courier.post(route.delta(b"f", 9), builds=True)
        delta = await route.times_sent(b"f", 1)
        route.refuse(delta.number, "base_mismatch", "another file")
        whole = await route.times_sent(b"f", 2)
        assert route.contents()[-1] == b"version 1, version 2"
        assert route.listener.troubles == []

        # It cannot happen to a whole file; if it does, it is no reason to turn in circles.
        route.refuse(whole.number, "base_mismatch", "another file")
        await eventually(lambda: route.listener.troubles, "the trouble")


@pytest.mark.parametrize(("reason", "told"), [("digest_mismatch", 3), ("vanished", 2)])
async def test_a_race_is_soon_over_but_three_are_none(route, reason, told):
    route.write(b"f", b"content")
    async with route.open():
        route.mark(b"f")
        for times in (1, 2, 3):
            sent = await route.times_sent(b"f", times)
            route.refuse(sent.number, reason)
        await eventually(lambda: len(route.listener.troubles) == told, "all refusals")
        assert route.dirty.next_retry() - asyncio.get_running_loop().time() > NEVER / 2


async def test_what_lacks_its_directory_there_is_sent_again_after_all_directories_above_it(route):
    route.source.mkdir(b"a")
    route.source.mkdir(b"a/b")
    route.write(b"a/b/f", b"content")
    async with route.open():
        route.mark(b"a/b/f")
        lost = await route.times_sent(b"a/b/f", 1)
        route.refuse(lost.number, "vanished")
        await route.times_sent(b"a/b/f", 2)

    assert [change.path for change in route.sent()] == [b"a/b/f", b"a", b"a/b", b"a/b/f"]


async def test_what_cannot_be_read_here_is_told_and_is_no_lag_of_the_frontend(route):
    route.write(b"f", b"content")
    route.source.write(b"f", b"changed, and not examined yet")
    route.retry(0.05)
    async with route.open():
        route.mark(b"f")
        await eventually(lambda: route.listener.troubles, "the trouble")
        assert route.looked_again[0] == b"f"
        assert route.dirty.lagging() is None
        assert route.sent() == []
        route.survey()
        await route.times_sent(b"f", 1)

    assert b"on the backend" in route.listener.troubles[0][1].encode()


async def test_a_directory_that_is_not_empty_waits_for_deletes_and_is_kept_in_the_end(
    route, monkeypatch
):
    monkeypatch.setattr(module, "SOON", 0.001)
    async with route.open():
        route.mark(b"d", b"d/ours")
        below, above = await route.times_sent(b"d/ours", 1), await route.times_sent(b"d", 1)
        route.refuse(above.number, "not_empty", "holds two")
        again = await route.times_sent(b"d", 2)
        assert route.listener.doubts == []  # a delete below it is under way
        route.accept(below.number)
        await eventually(lambda: at(b"d/ours") not in route.dirty, "the delete below")

        for times in range(3, KEPT_AFTER + 2):
            route.refuse(again.number, "not_empty", "holds .git")
            again = await route.times_sent(b"d", times)
        assert set(route.listener.doubts) == {b"d"}
        assert at(b"d") in route.dirty
        route.refuse(again.number, "not_empty", "holds .git")
        await eventually(lambda: not route.dirty, "the end of the attempts")

    assert route.listener.troubles[-1] == (b"d", "kept, because it holds files that are not ours")


async def test_what_was_dirty_below_the_old_name_goes_out_under_the_new_one_after_the_move(route):
    route.write(b"d", b"")
    route.source.remove(b"d")
    route.source.mkdir(b"d")
    route.write(b"d/f", b"content")
    async with route.open():
        route.fill_window()
        route.mark(b"d/f")
        await route.prepared(1)  # under the old name
        route.catalog.move(b"d", b"e")
        route.source.nodes[b"e/f"] = route.source.nodes.pop(b"d/f")
        route.courier.post_move(single(moved(1, b"d", b"e")))
        route.make_room()
        await route.times_sent(b"e/f", 1)

    assert [(type(change), change.path) for change in route.sent()] == [
        (Move, b"d"),
        (PutFile, b"e/f"),
    ]


async def test_a_refused_move_puts_both_names_right(route):
    async with route.open():
        route.courier.post_move(single(moved(1, b"a", b"b")))
        move = await route.times_sent(b"a", 1)
        route.refuse(move.number, "vanished")
        assert isinstance(await route.times_sent(b"a", 2), Delete)

    assert route.listener.doubts == [b"b"]


BIG = bytes(range(256)) * (CHUNK // 256) + b"a second chunk"


async def test_a_large_file_that_changes_while_it_is_read_is_cancelled_and_sent_anew(route):
    route.write(b"big", BIG)
    route.source.after_read = lambda _path: route.source.write(b"big", BIG[::-1])
    async with route.open():
        route.mark(b"big")
        await eventually(lambda: any(data.cancel for data in route.channel.of(Data)), "the end")
        assert not any(data.end for data in route.channel.of(Data))
        assert route.looked_again == [b"big"]

        route.source.after_read = lambda _path: None
        route.survey()
        (broken,) = route.sent(b"big")
        route.channel.payloads.clear()
        route.refuse(broken.number, "digest_mismatch")
        await eventually(lambda: any(data.end for data in route.channel.of(Data)), "the new one")

    assert b"".join(route.contents()) == BIG[::-1]


async def test_a_large_file_marked_again_before_its_end_never_ends_and_has_another_number(route):
    route.write(b"big", BIG)
    async with route.open():
        route.channel.open.clear()
        route.mark(b"big")
        await route.times_sent(b"big", 1)
        await eventually(lambda: len(route.courier._prepared) == 3, "all frames but the first")
        route.mark(b"big")
        route.channel.open.set()
        await eventually(lambda: any(data.cancel for data in route.channel.of(Data)), "a cancel")
        assert not any(data.end for data in route.channel.of(Data))
        route.make_room()
        await eventually(lambda: any(data.end for data in route.channel.of(Data)), "the end")

    first, second = route.sent(b"big")
    *_, last = route.channel.of(Data)
    assert last.number == second.number != first.number


async def test_a_large_file_that_is_gone_before_its_first_frame_is_sent_is_not_begun(route):
    # The frontend would make the directories above it, which are gone here and nobody would remove there.
    route.write(b"gone/big", BIG)
    route.write(b"other", BIG)
    async with route.open():
        route.fill_window()
        route.mark(b"gone/big")
        await eventually(lambda: len(route.courier._prepared) == 4, "all frames")
        route.source.nodes.pop(b"gone/big")
        route.survey()
        route.mark(b"gone/big", b"other")
        route.make_room()
        await eventually(lambda: any(data.end for data in route.channel.of(Data)), "the other")

    assert [type(change) for change in route.sent(b"gone/big")] == [Delete]
    (other,) = route.sent(b"other")
    assert {data.number for data in route.channel.of(Data)} == {other.number}


async def test_a_shared_frame_is_not_under_way_twice(route):
    route.write(b"f", b"content")
    async with route.open():
        route.mark(b"f")
        first = await route.times_sent(b"f", 1)
        route.mark(b"f")  # the same version again: its frame is in the cache, with its number
        await route.prepared(2)
        route.courier.post(single(gone(1, b"marker")), builds=True)
        await route.times_sent(b"marker", 1)
        assert len(route.sent(b"f")) == 1
        route.accept(first.number)
        second = await route.times_sent(b"f", 2)
        route.accept(second.number)
        await eventually(lambda: at(b"f") not in route.dirty, "the second answer")

    assert second.number == first.number


async def test_a_frame_that_waits_for_the_answer_to_its_twin_does_not_turn_in_circles(route):
    route.write(b"f", b"content")
    async with route.open():
        route.mark(b"f")
        await route.times_sent(b"f", 1)
        route.mark(b"f")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await eventually(lambda: route.listener.frames > 20, "a busy loop")
