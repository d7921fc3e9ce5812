"""The bootstrap queue: no more frontends than places, first come first served, and no place is ever lost."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.engine.bootstrap_queue import BootstrapQueue, Rank
from tests.support.waiting import FOREVER, turns


class Visitor:
    """A task that takes a place, keeps it until `leave` is set, and may be cancelled at any moment."""

    def __init__(self, bootstrap_queue, rank=Rank.USUAL):
        self.inside = False
        self.leave = asyncio.Event()
        self.task = asyncio.get_running_loop().create_task(self._visit(bootstrap_queue, rank))

    async def _visit(self, bootstrap_queue, rank):
        async with bootstrap_queue.place(self, rank):
            self.inside = True
            try:
                await self.leave.wait()
            finally:
                self.inside = False


async def breathe():
    await turns(5)


async def test_first_come_first_served_and_a_requested_frontend_goes_to_the_front():
    bootstrap_queue = BootstrapQueue(1)
    first, second, third = (Visitor(bootstrap_queue) for _ in range(3))
    await breathe()
    asked = Visitor(bootstrap_queue, Rank.ASKED_FOR)
    await breathe()

    assert first.inside
    assert [bootstrap_queue.position(v) for v in (asked, second, third, first)] == [1, 2, 3, None]

    bootstrap_queue.to_front(third)
    for leaving, entering in ((first, asked), (asked, third), (third, second)):
        leaving.leave.set()
        await breathe()
        assert entering.inside
    second.leave.set()
    await asyncio.gather(*(v.task for v in (first, second, third, asked)))

    assert bootstrap_queue.inside == 0


async def test_a_leaving_frontend_waits_behind_those_that_come_later():
    bootstrap_queue = BootstrapQueue(1)
    inside, leaving, usual = (
        Visitor(bootstrap_queue),
        Visitor(bootstrap_queue, Rank.LEAVING),
        Visitor(bootstrap_queue),
    )
    await breathe()

    assert [bootstrap_queue.position(v) for v in (usual, leaving)] == [1, 2]

    for visitor in (inside, usual, leaving):
        visitor.leave.set()
    await asyncio.gather(*(v.task for v in (inside, leaving, usual)))


async def test_more_places_admit_more_frontends_at_once():
    bootstrap_queue = BootstrapQueue(1)
    visitors = [Visitor(bootstrap_queue) for _ in range(3)]
    await breathe()
    bootstrap_queue.resize(3)
    await breathe()

    assert bootstrap_queue.inside == 3

    for visitor in visitors:
        visitor.leave.set()
    await asyncio.gather(*(v.task for v in visitors))


async def test_a_frontend_that_fails_releases_its_place():
    bootstrap_queue = BootstrapQueue(1)
    with pytest.raises(RuntimeError):
        async with bootstrap_queue.place(object()):
            raise RuntimeError
    async with asyncio.timeout(1):
        async with bootstrap_queue.place(object()):
            assert bootstrap_queue.inside == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["come", "leave", "cancel", "resize", "breathe"]), st.integers(0, 9)
        ),
        max_size=40,
    )
)
def test_no_sequence_of_steps_loses_a_place_or_exceeds_the_limit(steps):
    async def play():
        bootstrap_queue, places = BootstrapQueue(2), 2
        visitors = []
        for step, number in steps:
            if step == "come":
                visitors.append(
                    Visitor(bootstrap_queue, Rank.ASKED_FOR if number == 0 else Rank.USUAL)
                )
            elif step == "resize":
                places = max(places, number + 1) if number % 2 else places
                bootstrap_queue.resize(places)
            elif step == "breathe":
                await breathe()
            elif visitors:
                visitor = visitors[number % len(visitors)]
                visitor.leave.set() if step == "leave" else visitor.task.cancel()
            assert sum(v.inside for v in visitors) <= places
        for visitor in visitors:
            visitor.leave.set()
        await asyncio.gather(*(v.task for v in visitors), return_exceptions=True)
        assert bootstrap_queue.inside == 0

    asyncio.run(play())


async def test_a_cancelled_waiter_leaves_its_place_to_the_next():
    bootstrap_queue, owner = BootstrapQueue(1), object()
    async with bootstrap_queue.place(owner, Rank.USUAL) as place:
        other = Visitor(bootstrap_queue)
        await breathe()
        assert place.give_way()
        waiter = asyncio.get_running_loop().create_task(place.wait())
        await breathe()
        waiter.cancel()
        await asyncio.wait([waiter])
        other.leave.set()
        await asyncio.wait_for(place.wait(), FOREVER)
    await asyncio.wait([other.task])
