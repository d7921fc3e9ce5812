"""`wait` never confirms while it is unknown which frontends must confirm, or while something is not replicated."""

import asyncio
import errno
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from replicator.core.lifecycle import State
from replicator.engine.control.requests import Requests
from replicator.engine.fleet.membership import Membership
from replicator.engine.service import Service
from replicator.errors import DiscoveryError
from replicator.ports import Address, Candidate, PollResult
from tests.support.fakes.provider import FakeProvider
from tests.support.frontends import Backdrop
from tests.support.source_state import fake_tree
from tests.support.waiting import eventually, turns

NOBODY = {"who": "fleet", "why": "no frontend is known"}


class Served(Backdrop):
    """A service with one tree over fakes, and `wait` requests to it."""

    def __init__(self, pool):
        super().__init__(pool)
        self.context.trees.clear()
        self.service = Service(self.context)
        self.tree = fake_tree(self.source, self.catalog)
        self.pipeline = self.service.add_tree(self.tree)
        self.requests = Requests(self.service, self.context)

    async def wait(self, *areas, timeout=0.05, **more):
        request = {"command": "wait", "areas": [*map(list, areas)], "timeout": timeout, **more}
        return [row async for row in self.requests.handle(request)][-1]

    def discover(self, *providers):
        self.service.set_membership(Membership(providers, self.service.join, lambda: 0.5))

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
    with ThreadPoolExecutor(2) as pool:
        made = Served(pool)
        running = asyncio.get_running_loop().create_task(made.service.run())
        await eventually(made.pipeline.scanned.is_set, "the scan")
        yield made
        running.cancel()
        await asyncio.wait([running])
        made.service.close()


def answer(*hosts):
    return PollResult(tuple(Candidate(Address(host)) for host in hosts))


async def test_nothing_is_confirmed_while_the_fleet_is_empty(served):
    outcome = await served.wait()
    assert (outcome["ok"], outcome["waits_for"]) == (False, [NOBODY])
    served.discover(FakeProvider(answer("a")))
    await served.live("a")
    assert (await served.wait(timeout=30))["ok"]


async def test_frontends_that_all_leave_meanwhile_have_confirmed_nothing(served):
    served.context.bootstrap_queue.resize(0)
    served.service.join([Candidate(Address("a"))], drop=True)
    waiting = asyncio.ensure_future(served.wait(timeout=0.5))
    await turns(10)
    served.service.join([], drop=True)
    outcome = await waiting
    assert (outcome["ok"], outcome["left"], outcome["waits_for"]) == (False, ["a"], [NOBODY])


async def test_a_provider_that_has_not_answered_yet_is_waited_for_and_named(served):
    denied = FakeProvider(DiscoveryError("AccessDenied"), name="alb")
    served.discover(FakeProvider(answer("a"), name="static"), denied)
    await served.live("a")
    await eventually(lambda: denied.polls, "a poll")
    outcome = await served.wait()
    assert not outcome["ok"]
    assert outcome["waits_for"] == [{"who": "discovery alb", "why": "AccessDenied"}]
    assert (await served.wait(host="a", timeout=30))["ok"]
    denied.answers = [answer("a", "b")]
    await served.live("a", "b")
    assert (await served.wait(timeout=30))["ok"]


async def test_a_provider_that_was_not_polled_yet_is_waited_for(served):
    served.discover(FakeProvider(answer("a"), name="dns"))
    outcome = await served.wait(timeout=0)
    assert {"who": "discovery dns", "why": "no answer yet"} in outcome["waits_for"]


async def test_an_unreadable_path_is_named_however_many_others_there_are(served):
    served.discover(FakeProvider(answer("a")))
    await served.live("a")
    paths = [b"cache/%d" % number for number in range(200)] + [b"releases/7/config"]
    for path in paths:
        served.source.write(path, b"content")
        served.source.unreadable[path] = "Permission denied"
        served.pipeline.recheck(path)
    await eventually(lambda: all(map(served.pipeline.is_unreadable, paths)), "the checks")
    outcome = await served.wait(("/source", "releases/7"), timeout=30)
    assert outcome["waits_for"] == [{"who": "/source", "why": "releases/7/config cannot be read"}]
    assert (await served.wait(("/source", "media"), timeout=30))["ok"]


async def test_a_file_whose_changes_cause_no_event_is_checked(served):
    served.discover(FakeProvider(answer("a")))
    await served.live("a")
    served.source.write(b"d/mounted", b"content")
    served.pipeline._watcher.files = [b"d/mounted"]
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
    outcome = await served.wait(("/source", "f"), timeout=0.1)
    hangs.set()
    assert outcome["waits_for"] == [{"who": "/source", "why": "the named paths are being examined"}]
