"""The gate: never more inside than places, first come first served, and no place is ever lost."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.engine.gate import Gate, Rank


class Visitor:
    """Somebody who goes in, stays until told to leave, and may be cancelled at any moment."""

    def __init__(self, gate, rank=Rank.USUAL):
        self.inside = False
        self.leave = asyncio.Event()
        self.task = asyncio.get_running_loop().create_task(self._visit(gate, rank))

    async def _visit(self, gate, rank):
        async with gate.place(self, rank):
            self.inside = True
            try:
                await self.leave.wait()
            finally:
                self.inside = False


async def breathe():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_first_come_first_served_and_who_is_asked_for_goes_to_the_front():
    gate = Gate(1)
    first, second, third = (Visitor(gate) for _ in range(3))
    await breathe()
    asked = Visitor(gate, Rank.ASKED_FOR)
    await breathe()

    assert first.inside
    assert [gate.position(v) for v in (asked, second, third, first)] == [1, 2, 3, None]

    gate.to_front(third)
    for leaving, entering in ((first, asked), (asked, third), (third, second)):
        leaving.leave.set()
        await breathe()
        assert entering.inside
    second.leave.set()
    await asyncio.gather(*(v.task for v in (first, second, third, asked)))

    assert gate.inside == 0


async def test_who_is_leaving_waits_behind_those_who_come_later():
    gate = Gate(1)
    inside, leaving, usual = Visitor(gate), Visitor(gate, Rank.LEAVING), Visitor(gate)
    await breathe()

    assert [gate.position(v) for v in (usual, leaving)] == [1, 2]

    for visitor in (inside, usual, leaving):
        visitor.leave.set()
    await asyncio.gather(*(v.task for v in (inside, leaving, usual)))


async def test_more_places_let_more_in_at_once():
    gate = Gate(1)
    visitors = [Visitor(gate) for _ in range(3)]
    await breathe()
    gate.resize(3)
    await breathe()

    assert gate.inside == 3

    for visitor in visitors:
        visitor.leave.set()
    await asyncio.gather(*(v.task for v in visitors))


async def test_one_that_fails_inside_gives_its_place_back():
    gate = Gate(1)
    with pytest.raises(RuntimeError):
        async with gate.place(object()):
            raise RuntimeError
    async with asyncio.timeout(1):
        async with gate.place(object()):
            assert gate.inside == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["come", "leave", "cancel", "resize", "breathe"]), st.integers(0, 9)
        ),
        max_size=40,
    )
)
def test_whatever_happens_the_places_add_up(steps):
    async def play():
        gate, places = Gate(2), 2
        visitors = []
        for step, number in steps:
            if step == "come":
                visitors.append(Visitor(gate, Rank.ASKED_FOR if number == 0 else Rank.USUAL))
            elif step == "resize":
                places = max(places, number + 1) if number % 2 else places
                gate.resize(places)
            elif step == "breathe":
                await breathe()
            elif visitors:
                visitor = visitors[number % len(visitors)]
                visitor.leave.set() if step == "leave" else visitor.task.cancel()
            assert sum(v.inside for v in visitors) <= places
        for visitor in visitors:
            visitor.leave.set()
        await asyncio.gather(*(v.task for v in visitors), return_exceptions=True)
        assert gate.inside == 0

    asyncio.run(play())


async def test_a_waiter_that_is_cancelled_leaves_the_place_to_the_next_one():
    gate, owner = Gate(1), object()
    async with gate.place(owner, Rank.USUAL) as place:
        other = Visitor(gate)
        await breathe()
        assert place.give_way()
        waiter = asyncio.get_running_loop().create_task(place.wait())
        await breathe()
        waiter.cancel()
        await asyncio.wait([waiter])
        other.leave.set()
        await asyncio.wait_for(place.wait(), 10)
    await asyncio.wait([other.task])
