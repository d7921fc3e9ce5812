"""ProgressTimeout: it runs only while answers are due, and only progress restarts it."""

import asyncio

import pytest

from replicator.engine.frontend.progress_timeout import LONGEST, ProgressTimeout
from replicator.errors import ChannelLost

pytestmark = pytest.mark.usefixtures("clock")


async def test_an_agent_that_makes_no_progress_on_pending_changes_times_out():
    with pytest.raises(ChannelLost, match=r"^no answer to 3 changes for 0\.05 seconds"):
        await ProgressTimeout(lambda: "no answer to 3 changes").watch(0.05)


@pytest.mark.parametrize("part", [1.0, 0.001])
async def test_work_extends_the_timeout_by_the_time_that_it_should_take(part):
    progress_timeout = ProgressTimeout(lambda: "no answer")

    async def drip():
        while True:
            await asyncio.sleep(0.01)
            progress_timeout.progressed_by(part)

    dripping = asyncio.ensure_future(drip())
    try:
        with pytest.raises(TimeoutError if part == 1.0 else ChannelLost):
            async with asyncio.timeout(0.6):
                await progress_timeout.watch(0.2)
    finally:
        dripping.cancel()


async def test_the_timeout_starts_with_the_first_request():
    unanswered = ""
    progress_timeout = ProgressTimeout(lambda: unanswered)
    watching = asyncio.ensure_future(progress_timeout.watch(0.2))
    await asyncio.sleep(0.3)
    progress_timeout.requesting()
    unanswered = "1 changes"
    await asyncio.sleep(0.1)
    assert not watching.done()
    with pytest.raises(ChannelLost):
        await watching


async def test_signs_of_life_count_until_one_change_has_taken_too_long():
    loop = asyncio.get_running_loop()
    progress_timeout = ProgressTimeout(lambda: "no answer")
    began = loop.time()

    async def live():
        while True:
            await asyncio.sleep(5)
            progress_timeout.alive()

    living = asyncio.ensure_future(live())
    try:
        with pytest.raises(ChannelLost):
            await progress_timeout.watch(60.0)
        assert LONGEST < loop.time() - began < LONGEST + 90
    finally:
        living.cancel()
