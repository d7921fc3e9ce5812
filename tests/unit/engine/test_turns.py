"""Tasks that take turns: one in each iteration of the event loop, in the order in which they asked, and no turn is lost."""

import asyncio

import pytest

from replicator.engine.loop import Turns


async def iterate(count=1):
    for _ in range(count):
        await asyncio.sleep(0)


def worker(turns, name, taken, rounds=1):
    async def work():
        for _ in range(rounds):
            await turns.take()
            taken.append(name)
            await asyncio.sleep(0)

    return asyncio.create_task(work())


async def test_a_single_task_never_waits():
    turns, taken = Turns(), []
    worker(turns, "a", taken, rounds=5)
    await iterate(5)
    assert taken == ["a"] * 5


async def test_tasks_take_turns_one_in_an_iteration():
    turns, taken = Turns(), []
    for name in "abc":
        worker(turns, name, taken, rounds=3)
    counts = []
    while len(taken) < 9:
        before = len(taken)
        await iterate()
        counts.append(len(taken) - before)
        assert len(counts) < 50
    assert max(counts) == 1
    assert taken == list("abc") * 3


@pytest.mark.parametrize("iterations", range(6))
async def test_a_task_that_is_cancelled_loses_no_turn_for_the_others(iterations):
    turns, taken = Turns(), []
    tasks = [worker(turns, name, taken) for name in "abcd"]
    await iterate(iterations)
    tasks[1].cancel()
    await asyncio.wait(tasks, timeout=5)
    assert all(task.done() for task in tasks)
    assert [name for name in taken if name != "b"] == list("acd")


async def test_after_all_were_cancelled_the_next_task_has_its_turn():
    turns, taken = Turns(), []
    tasks = [worker(turns, name, taken) for name in "abc"]
    await iterate(2)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await asyncio.wait_for(turns.take(), 5)
