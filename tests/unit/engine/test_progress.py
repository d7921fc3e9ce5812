"""A place in the bootstrap queue is kept for as long as the work should take, and given up when the frontend is slow."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from replicator.core.lifecycle import State
from replicator.engine.bootstrap_queue import BootstrapQueue, Place, Rank
from replicator.engine.fleet.fleet import Fleet
from replicator.engine.frontend import progress as module
from replicator.engine.frontend.progress import WorkDone, giving_way_when_slow
from replicator.model import Listed
from replicator.wire.messages import Listing, ListTree, More
from tests.support.frontends import Backdrop, candidate
from tests.support.waiting import eventually, turns


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(module, "GRACE", 0.1)
    monkeypatch.setattr(module, "TICK", 0.01)


@pytest.mark.parametrize(
    ("work", "most", "seconds"),
    [
        (WorkDone(2000, 0, 0), 10_000, 10),
        (WorkDone(2000, 0, 0), 1000, 5),
        (WorkDone(2000, 0, 0), 0, 0),
        (WorkDone(0, 500, 0), 0, 10),
        (WorkDone(0, 0, 10 << 20), 0, 10),
    ],
)
def test_only_the_work_to_be_done_counts_as_time(work, most, seconds):
    assert work.seconds(WorkDone(0, 0, 0), most) == seconds
    assert work.seconds(work, most) == 0


async def test_a_place_that_is_given_up_goes_to_the_next_and_is_held_again_later():
    bootstrap_queue = BootstrapQueue(1)
    async with bootstrap_queue.place("slow", Rank.ASKED_FOR) as slow:
        assert not slow.give_way()  # nobody waits
        other = Place(bootstrap_queue, "other")
        waiting = asyncio.ensure_future(_visit(bootstrap_queue, other))
        await turns()
        assert slow.give_way()
        assert (slow.is_held, bootstrap_queue.inside, bootstrap_queue.position("slow")) == (
            False,
            1,
            1,
        )
        assert not slow.give_way()
        await waiting
        await slow.wait()
        assert slow.is_held
    assert bootstrap_queue.inside == 0


async def _visit(bootstrap_queue, place):
    async with bootstrap_queue.place(place.owner):
        await asyncio.sleep(0.01)


async def test_a_place_that_is_given_up_and_never_held_again_is_not_lost():
    bootstrap_queue = BootstrapQueue(1)
    async with bootstrap_queue.place("slow") as slow:
        holder = asyncio.ensure_future(_stay(bootstrap_queue))
        await turns()
        assert slow.give_way()
    assert (bootstrap_queue.inside, bootstrap_queue.is_wanted) == (1, False)
    holder.cancel()
    await asyncio.wait([holder])
    assert bootstrap_queue.inside == 0


async def _stay(bootstrap_queue):
    async with bootstrap_queue.place("holder"):
        await asyncio.Event().wait()


@pytest.mark.usefixtures("clock")
async def test_a_frontend_that_makes_progress_keeps_its_place(quick):
    bootstrap_queue, reasons, lines = BootstrapQueue(1), [], 0

    def work():
        return WorkDone(lines, 0, 0)

    async with (
        bootstrap_queue.place("busy") as busy,
        giving_way_when_slow(busy, work, 10**9, reasons.append),
    ):
        waiting = asyncio.ensure_future(_stay(bootstrap_queue))
        for _ in range(40):
            lines += 100
            await asyncio.sleep(0.01)
        assert busy.is_held
        await eventually(lambda: not busy.is_held, "the place to be given up")
        waiting.cancel()
        await eventually(lambda: len(reasons) == 2, "the place to be held again")
        assert busy.is_held
    assert reasons[0].startswith("it is slow: ")
    assert reasons[1] == ""


async def test_two_slow_frontends_do_not_delay_the_bootstrap_of_a_third(quick):
    with ThreadPoolExecutor(2) as pool:
        backdrop = Backdrop(pool)
        for number in range(50):
            backdrop.write(b"%02d" % number, b"content")
        slow = ("slow1", "slow2")
        fleet = Fleet(backdrop.context)

        def prepare(agent):
            if len(backdrop.agents.get("slow2", ())) == 0:
                agent.mute.add(ListTree)

        backdrop.prepare = prepare
        running = asyncio.get_running_loop().create_task(fleet.run())
        for host in slow:
            fleet.add(candidate(host))
        await eventually(
            lambda: all(h in backdrop.agents and backdrop.agent(h).of(ListTree) for h in slow),
            "both to hold the places",
        )
        backdrop.prepare = lambda _agent: None
        honest = fleet.add(candidate("honest"))
        may_end = asyncio.Event()
        dripping = asyncio.ensure_future(_drip(backdrop, slow, may_end))
        await backdrop.turned(honest, State.LIVE)
        rows = [fleet.find(candidate(host).address) for host in slow]
        assert any("it is slow" in row.last_error for row in rows), [r.last_error for r in rows]
        may_end.set()
        await dripping
        for row in rows:
            await backdrop.turned(row, State.LIVE)
            assert row.converged
            assert not row.last_error
        assert backdrop.context.bootstrap_queue.inside == 0
        assert all(len(backdrop.agents[host]) == 1 for host in slow)
        running.cancel()
        await asyncio.wait([running])


async def _drip(backdrop, hosts, may_end):
    """List fifty paths, one a frame, with the digest left out; never more frames than the backend gave credit for.

    The listings end after `may_end` is set.
    """
    entries = {path: record.entry for path, record in backdrop.catalog.records.items()}
    agents = [backdrop.agent(host) for host in hosts]
    for sent, path in enumerate(sorted(entries)):
        for agent in agents:
            await eventually(lambda agent=agent, sent=sent: credit(agent) > sent, "credit")
            entry = entries[path]._replace(digest=b"")
            agent.send(Listing(agent.of(ListTree)[0].job, (Listed(path, entry, 0, 0),), (), False))
        await asyncio.sleep(0.02)
    await may_end.wait()
    for agent in agents:
        await eventually(lambda agent=agent: credit(agent) > len(entries), "credit")
        agent.mute.clear()
        agent.send(Listing(agent.of(ListTree)[0].job, (), (), True))


def credit(agent):
    """Return how many frames of its listing the agent may send altogether."""
    return agent.of(ListTree)[0].credit + sum(more.credit for more in agent.of(More))
