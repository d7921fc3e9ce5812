"""`wait` never confirms while it is unknown which frontends must confirm, or while something is not replicated."""

import asyncio
import errno
import math
import threading
from contextlib import asynccontextmanager

import pytest

from replicator.core.lifecycle import State
from replicator.engine.control.resuming import resume
from replicator.engine.fleet.membership import Membership
from replicator.engine.ingest import worker
from replicator.errors import DiscoveryError
from replicator.model import Hinted, parent
from replicator.ports import Address, Candidate, PollResult
from replicator.wire.messages import ListTree
from tests.support.fakes.provider import FakeProvider
from tests.support.served import Served
from tests.support.waiting import FOREVER, eventually, turns

NOBODY = {"who": "fleet", "why": "no frontend is known"}


class Waited(Served):
    """A service that discovers frontends, and `wait` requests to it."""

    async def wait(self, *areas, timeout=0.05, **more):
        return await super().wait(*areas, timeout=timeout, **more)

    async def refused(self, *expected, timeout=0.05, areas=()):
        """Call `wait` until it names exactly these; every call must be refused.

        A call may end before the events of the source are read: a busy machine may take longer than the time limit for that.
        """
        found = None
        async with asyncio.timeout(FOREVER):
            while found != list(expected):
                outcome = await self.wait(*areas, timeout=timeout)
                assert not outcome["ok"]
                found = outcome["waits_for"]

    def discover(self, *providers):
        self.service.set_membership(Membership(providers, self.service.set_members, lambda: 0.5))

    async def live(self, *hosts):
        """Wait until these are the frontends, and all are live."""
        await eventually(
            lambda: (
                [(one.address.host, one.state) for one in self.service.fleet]
                == [(host, State.LIVE) for host in hosts]
            ),
            f"{hosts} to be live",
        )


@pytest.fixture
async def served():
    async with Waited.running() as made:
        yield made


def answer(*hosts):
    return PollResult(tuple(Candidate(Address(host)) for host in hosts))


async def test_nothing_is_confirmed_while_the_fleet_is_empty(served):
    await served.refused(NOBODY)
    served.discover(FakeProvider(answer("a")))
    await served.live("a")
    assert (await served.wait(timeout=30))["ok"]


async def test_frontends_that_all_leave_meanwhile_have_confirmed_nothing(served):
    served.context.bootstrap_queue.resize(0)
    served.service.set_members([Candidate(Address("a"))], drop=True)
    waiting = asyncio.ensure_future(served.wait(timeout=0.5))
    await turns(10)
    served.service.set_members([], drop=True)
    outcome = await waiting
    assert (outcome["ok"], outcome["left"], outcome["waits_for"]) == (False, ["a"], [NOBODY])


async def test_a_provider_that_has_not_answered_yet_is_waited_for_and_named(served):
    denied = FakeProvider(DiscoveryError("AccessDenied"), name="alb")
    served.discover(FakeProvider(answer("a"), name="static"), denied)
    await served.live("a")
    await eventually(lambda: denied.polls, "a poll")
    await served.refused({"who": "discovery alb", "why": "AccessDenied"})
    assert (await served.wait(host="a", timeout=30))["ok"]
    denied.answers = [answer("a", "b")]
    await served.live("a", "b")
    assert (await served.wait(timeout=30))["ok"]


async def test_a_provider_that_was_not_polled_yet_is_waited_for(served):
    served.discover(FakeProvider(answer("a"), name="dns"))
    outcome = await served.wait(timeout=0)
    assert {"who": "discovery dns", "why": "no answer yet"} in outcome["waits_for"]


@pytest.mark.parametrize("kind", [Hinted.CHANGED, Hinted.WRITTEN, Hinted.SUBTREE])
async def test_a_deletion_is_waited_for_although_a_later_event_names_the_path_again(served, kind):
    barrier = await removed(served, b"gone")
    served.watcher.hint(b"gone", kind)
    await eventually(lambda: barrier.passed_at is not None, "the deletion")
    assert b"gone" not in served.catalog.records


async def test_a_deletion_is_waited_for_although_its_directory_is_renamed_at_once(served):
    barrier = await removed(served, b"d/gone")
    served.source.nodes[b"e"] = served.source.nodes.pop(b"d")
    served.watcher.hint(b"d/gone")
    served.watcher.hint(b"d", Hinted.MOVED, b"e")
    await eventually(lambda: barrier.passed_at is not None, "the deletion")
    assert not {b"d/gone", b"e/gone"} & set(served.catalog.records)


async def test_a_deletion_that_other_events_follow_all_the_time_is_not_waited_for_longer(
    served, monkeypatch
):
    monkeypatch.setattr(worker, "FLAPPING", 1.0)
    barrier = await removed(served, b"lock")
    async with events(served, b"lock"):
        await eventually(lambda: barrier.passed_at is not None, lambda: barrier.waits_for)


async def test_a_path_that_was_first_missing_after_the_call_is_not_waited_for(served, monkeypatch):
    monkeypatch.setattr(worker, "FLAPPING", math.inf)
    barrier = await removed(served, b"gone")
    await removed(served, b"later")
    async with events(served, b"later"):
        await eventually(lambda: barrier.passed_at is not None, lambda: barrier.waits_for)
    assert b"gone" not in served.catalog.records


@asynccontextmanager
async def events(served, path):
    """Name a path in events all the time."""

    async def name():
        while True:
            served.watcher.hint(path)
            await asyncio.sleep(0.02)

    naming = asyncio.ensure_future(name())
    try:
        yield
    finally:
        naming.cancel()


async def removed(served, path):
    """Remove a path that is recorded; return a barrier that is added as soon as it is missing."""
    served.source.write(path, b"content")
    served.pipeline.recheck(parent(path))
    served.pipeline.recheck(path)
    await eventually(lambda: path in served.catalog.records, "the record")
    served.source.remove(path)
    served.watcher.hint(path)
    await eventually(lambda: served.pipeline._worker.rechecks.is_missing(path), "the check")
    return served.pipeline.barriers.add(b"", asyncio.get_running_loop().time())


async def test_a_provider_whose_answers_lack_a_part_is_waited_for_until_one_is_complete(served):
    part = PollResult(answer("a").candidates, ("b.example has no address",), complete=False)
    dns = FakeProvider(part, name="dns")
    served.discover(dns)
    await served.live("a")
    why = "its answer is incomplete: b.example has no address"
    await served.refused({"who": "discovery dns", "why": why})
    dns.answers = [answer("a", "b"), part]
    await served.live("a", "b")
    await eventually(lambda: dns.answers == [part], "an incomplete answer again")
    assert (await served.wait(timeout=30))["ok"]


async def test_what_a_pause_has_withheld_is_not_confirmed_while_resume_ends_it(served, monkeypatch):
    served.discover(FakeProvider(answer("a")))
    await served.live("a")
    deletions, going_on = served.pipeline.deletions, threading.Event()
    deletions.paused = "9 of 10 paths were removed in one go"
    monkeypatch.setattr(deletions, "forget_pause", going_on.wait)
    assert not (await served.wait())["ok"]
    served.agent("a").mute.add(ListTree)  # the comparison does not end
    resuming = asyncio.ensure_future(resume(served.service, served.context, None))
    try:
        await turns(10)
        assert not deletions.paused
        outcome = await served.wait()
        assert (outcome["ok"], outcome["waits_for"][0]["who"]) == (False, "a")
    finally:
        going_on.set()
        await resuming


async def test_an_unreadable_path_is_named_however_many_others_there_are(served):
    served.discover(FakeProvider(answer("a")))
    await served.live("a")
    paths = [b"cache/%d" % number for number in range(200)] + [b"releases/7/config"]
    for path in paths:
        served.source.write(path, b"content")
        served.source.unreadable[path] = "Permission denied"
        served.pipeline.recheck(path)
    await eventually(lambda: all(map(served.pipeline.rechecks.is_unreadable, paths)), "the checks")
    outcome = await served.wait(("/source", "releases/7"), timeout=30)
    assert outcome["waits_for"] == [{"who": "/source", "why": "releases/7/config cannot be read"}]
    assert (await served.wait(("/source", "media"), timeout=30))["ok"]


async def test_a_file_whose_changes_cause_no_event_is_checked(served):
    served.discover(FakeProvider(answer("a")))
    await served.live("a")
    served.source.write(b"d/mounted", b"content")
    served.watcher.files = [b"d/mounted"]
    assert (await served.wait(("/source", "e"), timeout=30))["ok"]
    assert b"d/mounted" not in served.disks["a"]
    assert (await served.wait(("/source", "d"), timeout=30))["ok"]
    assert b"d/mounted" in served.disks["a"]


async def test_a_path_that_is_left_out_is_not_confirmed(served):
    served.discover(FakeProvider(answer("a")))
    await served.live("a")
    served.source.write(b"f", b"content")
    served.source.left_out[b"d/pipe"] = "is a special file"
    outcome = await served.wait(("/source", "d/pipe"), timeout=30)
    assert outcome["waits_for"] == [
        {"who": "/source", "why": "d/pipe is a special file, so it is not replicated"}
    ]
    for named in [("d", "d/pipe"), ("", "f", "d/pipe")]:
        assert not (await served.wait(*[("/source", path) for path in named], timeout=30))["ok"]
    assert (await served.wait(("/source", "f"), ("/source", "absent"), timeout=30))["ok"]
    assert (await served.wait(("/source", "d"), timeout=30))["ok"]


async def test_a_named_path_that_cannot_be_examined_is_not_confirmed(served):
    served.discover(FakeProvider(answer("a")))
    await served.live("a")
    served.source.denied[b"f"] = errno.EACCES
    outcome = await served.wait(("/source", "f"), timeout=30)
    assert outcome["waits_for"] == [
        {"who": "/source", "why": "f cannot be examined: Permission denied"}
    ]


async def test_a_volume_that_hangs_does_not_keep_wait_from_its_answers(served):
    served.discover(FakeProvider(answer("a")))
    await served.live("a")
    hangs = threading.Event()
    served.source.why_left_out = lambda _path: hangs.wait()
    try:
        expected = {"who": "/source", "why": "the named paths are being examined"}
        await served.refused(expected, areas=[("/source", "f")], timeout=0.1)
    finally:
        hangs.set()
