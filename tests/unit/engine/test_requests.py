"""Requests of the control socket."""

import asyncio
import math
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from replicator import __version__
from replicator.core.lifecycle import State
from replicator.engine.control.areas import MOST_AREAS, outermost, requested
from replicator.engine.control.requests import LONGEST_WAIT, Requests, _address, _seconds
from replicator.engine.service import Service
from replicator.errors import ControlError
from replicator.ports import Address, Candidate
from tests.support.frontends import Backdrop
from tests.support.waiting import eventually, turns


def test_an_address_is_read_from_a_request():
    assert _address({"host": "a", "user": "u", "port": 22}) == Address("a", "u", 22)
    assert _address({"host": "a"}) == Address("a")


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": ""},
        {"host": 1},
        {"user": None},
        {"port": "22"},
        {"port": True},
        {"port": -1},
        {"port": 65536},
    ],
)
def test_an_invalid_address_is_refused(wrong):
    with pytest.raises(ControlError, match="names no host"):
        _address({"host": "a", "user": "", "port": 0} | wrong)


def test_a_path_that_no_file_can_have_is_refused():
    with pytest.raises(ControlError, match="areas must be"):
        requested({"areas": [["/s", "\ud800"]]})
    assert requested({"areas": [["/s", "\udcff"]]}) == [(b"/s", b"\xff")]


@pytest.mark.parametrize("wrong", [None, True, "1", -1, math.nan, math.inf, LONGEST_WAIT + 1])
def test_an_invalid_time_limit_is_refused(wrong):
    with pytest.raises(ControlError, match="timeout must be"):
        _seconds(wrong)


def test_areas_that_lie_in_others_are_left_out():
    areas = [(b"/s", b"a/b"), (b"/s", b"a-b"), (b"/s", b"a"), (b"/s", b"a"), (b"/t", b"a/b")]
    assert outermost(areas) == [(b"/s", b"a"), (b"/s", b"a-b"), (b"/t", b"a/b")]
    assert outermost([*areas, (b"/s", b"")]) == [(b"/s", b""), (b"/t", b"a/b")]


def test_as_many_areas_as_would_block_the_event_loop_are_refused():
    assert len(outermost([(b"/s", b"%d" % n) for n in range(MOST_AREAS)])) == MOST_AREAS
    with pytest.raises(ControlError, match="more than 100 paths"):
        outermost([(b"/s", b"%d" % n) for n in range(MOST_AREAS + 1)])


@pytest.fixture
async def ask():
    """Ask a service that has neither trees nor frontends; return all lines of its answer."""
    with ThreadPoolExecutor(1) as pool:
        context = Backdrop(pool).context
        context.trees.clear()
        requests = Requests(Service(context), context)

        async def collect(**request):
            return [line async for line in requests.handle(request)]

        yield collect


async def test_each_command_has_its_answer(ask):
    (status,) = await ask(command="status")
    assert status.pop("uptime_seconds") >= 0
    assert abs(status.pop("time") - time.time()) < 60
    bootstraps = status.pop("bootstraps")
    assert (bootstraps["count"], bootstraps["seconds"], bootstraps["buckets"][-1][1]) == (0, 0, 0)
    assert status == {
        "ok": True,
        "version": __version__,
        "frontends": [],
        "trees": [],
        "bootstrapping": 0,
        "launches": {"in_service": 0, "abandoned": 0, "left": 0},
        "discovery": [],
        "inotify": {"watches": 0, "limit": None},
        "hooks": [],
        "verify": {},
        "base": None,
        "pauses": [],
    }
    assert await ask(command="resume") == []
    assert await ask(command="verify") == []


async def test_an_unknown_command_is_refused_with_the_reason(ask):
    with pytest.raises(ControlError, match="unknown command 'dance'"):
        await ask(command="dance")
    with pytest.raises(ControlError, match="elsewhere: not one of the frontends"):
        await ask(command="verify", host="elsewhere")
    with pytest.raises(ControlError, match="names no host"):
        await ask(command="bootstrap")


class Asked(Backdrop):
    """A service whose bootstrap queue has no places until the test adds one, and requests to it."""

    def __init__(self, pool):
        super().__init__(pool, places=0)
        self.write(b"f", b"content")
        self.service = Service(self.context)
        self.requests = Requests(self.service, self.context)
        self.tasks = []

    def bootstrap(self, host):
        async def ask():
            return [row async for row in self.requests.bootstrap(Address(host))]

        self.tasks.append(asyncio.ensure_future(ask()))
        return self.tasks[-1]

    def hosts(self):
        return [str(replica.address) for replica in self.service.fleet]


@pytest.fixture
async def asked():
    with ThreadPoolExecutor(2) as pool:
        asked = Asked(pool)
        running = asyncio.ensure_future(asked.service.fleet.run())
        yield asked
        running.cancel()
        await asyncio.wait([running, *asked.tasks])


@pytest.mark.parametrize("named", [Address("web9"), Address("web9", "deploy", 2222)])
async def test_a_host_that_discovery_adds_during_a_manual_bootstrap_stays(asked, named):
    filled = asked.bootstrap("web9")
    await eventually(asked.hosts, "the frontend")
    asked.service.set_members([Candidate(named, "static")], drop=True)
    assert asked.hosts() == [str(named)]
    asked.context.bootstrap_queue.resize(2)
    assert (await filled)[-1]["finished"]
    assert asked.hosts() == [str(named)]


async def test_a_host_that_discovery_does_not_list_is_removed_after_the_last_bootstrap_request(
    asked,
):
    first, second = asked.bootstrap("web9"), asked.bootstrap("web9")
    await eventually(asked.hosts, "the frontend")
    await turns(10)
    first.cancel()
    await asyncio.wait([first])
    assert asked.hosts() == ["web9"]
    asked.context.bootstrap_queue.resize(2)
    assert (await second)[-1]["finished"]
    assert asked.hosts() == []


async def test_verify_yields_its_progress_only_if_that_is_asked_for(asked):
    asked.context.bootstrap_queue.resize(2)
    asked.service.set_members([Candidate(Address("web1"), "static")], drop=True)
    (replica,) = asked.service.fleet
    await asked.turned(replica, State.LIVE)
    request = {"command": "verify", "host": "web1"}
    first, *_, report = [row async for row in asked.requests.handle(request | {"progress": True})]
    assert first == {"progress": {"host": "web1", "port": 0, "compared": 0, "total": 0}}
    assert (report["host"], report["compared"], report["differing"]) == ("web1", 1, 0)
    (alone,) = [row async for row in asked.requests.handle(request)]
    assert alone.keys() == report.keys()
