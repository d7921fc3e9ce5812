"""The service: it runs until it is told to stop or a part of it ends, and trees come and go meanwhile."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from replicator.core.settle import Settle
from replicator.engine.service import Service
from replicator.engine.tree import Tree
from replicator.errors import ReplicatorError
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

    async def run(self):
        await self.end.wait()

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


async def test_a_part_that_ends_by_itself_ends_all(served):
    provider = Provider()
    served.service.set_membership(provider)
    assert served.service.describe_discovery() == [{"provider": "test"}]
    provider.end.set()
    with pytest.raises(ReplicatorError, match="discovery ended by itself"):
        await served.service.run()


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
