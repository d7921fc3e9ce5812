"""The service: it runs until it is told to stop or a part of it ends, and trees come and go meanwhile."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from replicator.core.lifecycle import State
from replicator.core.pace import Backoff
from replicator.core.settle import Settle
from replicator.engine.service import Service
from replicator.engine.tree import Tree
from replicator.errors import ReplicatorError
from replicator.ports import Address
from replicator.wire.messages import OpenTree
from tests.support.fakes import FakeWatcher
from tests.support.frontends import Backdrop
from tests.support.waiting import eventually


class Served(Backdrop):
    """A service before a backdrop; it has no tree yet."""

    def __init__(self, pool):
        super().__init__(pool)
        self.commons.plots.clear()
        self.shelves = {}
        self.service = Service(self.commons, self.shelves)

    def add_tree(self):
        settle = Settle(cooldown=0.01, max_wait=1.0)
        tree = Tree(1, b"/source", self.source, self.catalog, FakeWatcher, settle, delete=True)
        return self.service.add_tree(tree, OpenTree(1, b"/site"))


class Provider:
    """A membership that asks until it is told to end."""

    def __init__(self):
        self.end = asyncio.Event()
        self.runs = 0
        self.reason = ""

    async def run(self):
        self.runs += 1
        await self.end.wait()
        raise KeyError("a bug of ours")

    def failed(self, reason):
        self.reason = reason

    def describe(self):
        return [{"provider": "test"}]


@pytest.fixture
async def served():
    with ThreadPoolExecutor(2) as pool:
        yield Served(pool)


async def test_it_runs_until_it_is_told_to_stop(served):
    served.add_tree()
    running = asyncio.get_running_loop().create_task(served.service.run())
    await eventually(served.commons.plots[1].intake.surveyed.is_set, "a survey")
    assert served.service.summary() == "frontends: none"
    served.service.stop()
    await running


async def test_what_nothing_but_a_new_start_helps_ends_it(served):
    served.service.fail("the catalog is damaged")
    served.service.fail("and another thing")
    with pytest.raises(ReplicatorError, match="the catalog is damaged"):
        await served.service.run()


async def test_a_part_that_fails_is_begun_anew_and_ends_nothing_else(served):
    served.service._pauses = Backoff(0.01, 0.02, lambda: 1.0)
    served.add_tree()
    provider = Provider()
    served.service.set_membership(provider)
    assert served.service.describe_discovery() == [{"provider": "test"}]
    running = asyncio.get_running_loop().create_task(served.service.run())
    provider.end.set()
    await eventually(lambda: provider.runs > 2, "discovery to be begun anew")
    assert provider.reason == "internal error: KeyError('a bug of ours')"
    assert not running.done()
    served.service.stop()
    await running


async def test_a_tree_that_fails_with_a_foreign_exception_halts_and_goes_on_when_it_is_over(served):
    served.service._pauses = Backoff(0.01, 0.02, lambda: 1.0)
    look = served.source.look
    served.source.write(b"f", b"content")

    def fail(_path):
        raise ZeroDivisionError("a bug of ours")

    served.source.look = fail
    intake = served.add_tree()
    running = asyncio.get_running_loop().create_task(served.service.run())
    await eventually(lambda: intake.halted, "the halt")
    assert intake.halted == "internal error: ZeroDivisionError('a bug of ours')"
    assert not running.done()
    served.source.look = look
    await eventually(lambda: not intake.halted and intake.surveyed.is_set(), "the survey")
    served.service.stop()
    await running


async def test_a_frontend_whose_connector_fails_with_a_foreign_exception_concerns_nobody_else(
    served,
):
    served.add_tree()
    connect = served.connector.make

    def make(host):
        if host == "bad":
            raise KeyError("getpwuid(): uid not found: 4711")
        return connect(host)

    served.connector.make = make
    running = asyncio.get_running_loop().create_task(served.service.run())
    good, bad = (served.service.add_frontend(Address(host)) for host in ("good", "bad"))
    await served.turned(good, State.LIVE)
    await eventually(lambda: bad.failures > 2, "three attempts")
    assert "uid not found: 4711" in bad.last_error
    assert good.converged
    assert not running.done()
    served.service.stop()
    await running


async def test_a_tree_that_is_paused_sweeps_no_frontend_and_is_told_of(served):
    intake = served.add_tree()
    plot, shelf = served.commons.plots[1], served.shelves[1]
    assert shelf.delete()
    assert plot.territory.delete()
    intake.deletions.paused = "too much"
    assert not shelf.delete()
    assert not plot.territory.delete()
    assert served.service.summary() == "frontends: none; 1 trees stand"

    await served.service.remove_tree(1)
    assert not served.commons.plots
    assert not served.shelves
