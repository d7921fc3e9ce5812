"""The service: runs until it is stopped or fails; trees are added and removed meanwhile."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from replicator.core.lifecycle import State
from replicator.core.pace import Backoff
from replicator.engine.service import Service
from replicator.errors import ReplicatorError
from replicator.ports import Address
from replicator.wire import messages
from tests.support.frontends import Backdrop
from tests.support.source_state import fake_tree
from tests.support.waiting import eventually


class Served(Backdrop):
    """A service before a backdrop; it has no tree yet."""

    def __init__(self, pool):
        super().__init__(pool)
        self.context.trees.clear()
        self.service = Service(self.context)

    def add_tree(self):
        return self.service.add_tree(fake_tree(self.source, self.catalog))


class Provider:
    """A membership that runs until the test ends it."""

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


async def test_the_text_for_the_service_manager_counts_a_frontend_that_refuses_something_as_degraded(
    served,
):
    served.add_tree()
    served.prepare = lambda agent: agent.refusals.update({b"f": ("no_space", "the disk is full")})
    running = asyncio.get_running_loop().create_task(served.service.run())
    await eventually(served.context.trees[1].state.scanned.is_set, "the scan")
    replica = served.service.add_frontend(Address("a"))
    await eventually(
        lambda: served.service.summary() == "frontends: 1 live", served.service.summary
    )
    replica.offer(served.write(b"f", b"content"))
    await eventually(lambda: replica.dirty.problems(1), "the refusal")
    assert served.service.summary() == "frontends: 1 degraded"
    served.service.stop()
    running.cancel()
    await asyncio.wait([running])


async def test_the_service_runs_until_stop(served):
    served.add_tree()
    running = asyncio.get_running_loop().create_task(served.service.run())
    await eventually(served.context.trees[1].state.scanned.is_set, "the scan")
    assert served.service.summary() == "frontends: none"
    served.service.stop()
    await running


async def test_a_failure_that_needs_a_restart_ends_the_service(served):
    served.service.fail("the catalog is damaged")
    served.service.fail("and another thing")
    with pytest.raises(ReplicatorError, match="the catalog is damaged"):
        await served.service.run()


async def test_a_task_that_fails_is_restarted_and_ends_no_other(served):
    served.service.retry = Backoff(0.01, 0.02, lambda: 1.0)
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


async def test_a_tree_that_fails_with_an_unexpected_exception_halts_until_it_is_over(served):
    served.service.retry = Backoff(0.01, 0.02, lambda: 1.0)
    real_stat = served.source.stat
    served.source.write(b"f", b"content")

    def fail(_path):
        raise ZeroDivisionError("a bug of ours")

    served.source.stat = fail
    pipeline = served.add_tree()
    running = asyncio.get_running_loop().create_task(served.service.run())
    await eventually(lambda: pipeline.halted, "the halt")
    assert pipeline.halted == "internal error: ZeroDivisionError('a bug of ours')"
    assert not running.done()
    served.source.stat = real_stat
    await eventually(lambda: not pipeline.halted and pipeline.scanned.is_set(), "the scan")
    served.service.stop()
    await running


async def test_a_frontend_whose_connector_fails_with_an_unexpected_exception_affects_no_other(
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


@pytest.mark.usefixtures("clock")
async def test_a_stop_waits_for_at_most_eight_seconds_for_a_frontend_that_does_not_answer(served):
    served.add_tree()
    running = asyncio.get_running_loop().create_task(served.service.run())
    silent = served.service.add_frontend(Address("silent"))
    await served.turned(silent, State.LIVE)
    served.agent("silent").mute.add(messages.Batch)
    silent.offer(served.write(b"f", b"content"))
    assert silent.dirty
    served.service.stop()
    began = asyncio.get_running_loop().time()
    await running
    assert silent.dirty
    assert asyncio.get_running_loop().time() - began <= 8.1


async def test_a_paused_tree_deletes_nothing_on_frontends_and_is_reported(served):
    pipeline = served.add_tree()
    tree = served.context.trees[1]
    assert tree.state.deletions_allowed
    pipeline.deletions.paused = "too much"
    assert not tree.state.deletions_allowed
    assert served.service.summary() == "frontends: none; 1 trees halted or paused"

    await served.service.remove_tree(1)
    assert not served.context.trees
    assert not served.service.pipelines
